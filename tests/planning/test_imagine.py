import pytest
import torch

from robowm.models.protocol import Prediction
from robowm.planning import imagine
from robowm.planning.imagine import ensemble_value, rollout, score, unroll


class Counter:
    """Adds up its actions; the reward is the sum, and the episode may end with every step."""

    feat_size = 1

    def __init__(self, cont):
        self.cont = cont

    def step(self, state, action, sample=False):
        assert not sample
        return {"total": state["total"] + action.sum(1)}

    def feat(self, state):
        return state["total"][..., None]

    def predict(self, feat):
        return Prediction(feat[..., 0], torch.full_like(feat[..., 0], self.cont))


def critic(feat):
    return torch.stack([feat[:, 0] * 2, feat[:, 0] * 4])


ACTIONS = torch.tensor([[[[1.0], [2.0], [3.0]], [[0.0], [0.0], [1.0]]]])  # [B=1, N=2, H=3, A=1]


def test_score_by_hand_with_an_uncertain_continuation():
    imagined = rollout(Counter(0.5), {"total": torch.tensor([10.0])}, ACTIONS, keep_states=True)
    assert imagined.objective[0].tolist() == [[11, 13, 16], [10, 10, 11]]
    assert [s["total"].tolist() for s in imagined.states] == [[11, 10], [13, 10], [16, 11]]
    assert imagined.feats[0, :, -1, 0].tolist() == [16, 11]
    # each step is worth discount * cont = 0.9 * 0.5 = 0.45 of the one before
    expected = [11 + 0.45 * 13 + 0.45**2 * 16, 10 + 0.45 * 10 + 0.45**2 * 11]
    got = score(imagined, discount=0.9)
    torch.testing.assert_close(got, torch.tensor([expected]))
    got = score(imagined, critic, discount=0.9)
    with_value = [expected[0] + 0.45**3 * 32, expected[1] + 0.45**3 * 22]
    torch.testing.assert_close(got, torch.tensor([with_value]))
    got = score(imagined, critic, discount=0.9, value="mean_std", value_std_penalty=0.5)
    with_value = [expected[0] + 0.45**3 * (48 - 8), expected[1] + 0.45**3 * (33 - 5.5)]
    torch.testing.assert_close(got, torch.tensor([with_value]))


def test_nothing_counts_after_the_end():
    imagined = rollout(Counter(0.0), {"total": torch.tensor([10.0])}, ACTIONS)
    got = score(imagined, critic, discount=0.9)
    assert got.tolist() == [[11, 10]]


def test_rows_belong_to_their_beliefs():
    actions = torch.arange(24.0).reshape(3, 2, 4, 1)
    imagined = rollout(Counter(1.0), {"total": torch.tensor([0.0, 100, 200])}, actions)
    start = torch.tensor([0.0, 100, 200])[:, None, None]
    torch.testing.assert_close(imagined.objective, start + actions[..., 0].cumsum(-1))
    torch.testing.assert_close(imagined.actions, actions)


def test_objective_sees_the_state_before_the_action_and_the_step_after():
    def objective(state, action, step):
        return step.state["total"] - state["total"] - action[:, 0] + 5

    imagined = rollout(Counter(1.0), {"total": torch.tensor([10.0])}, ACTIONS, objective)
    assert (imagined.objective == 5).all()


def test_unroll_lets_the_actor_react_to_what_is_imagined():
    imagined = unroll(Counter(1.0), {"total": torch.tensor([8.0])}, lambda t, feat: -feat / 2, 2, 3)
    assert imagined.objective[0, 0].tolist() == [4, 2, 1]
    assert imagined.actions.shape == (1, 2, 3, 1)


def test_gradients_flow_to_the_actions():
    actions = ACTIONS.clone().requires_grad_()
    model = Counter(1.0)
    imagined = rollout(model, {"total": torch.tensor([10.0])}, actions)
    score(imagined, critic, discount=1.0).sum().backward()
    assert actions.grad[0, :, :, 0].tolist() == [[5, 4, 3], [5, 4, 3]]  # minimum: 2 * total


@pytest.mark.parametrize(("value", "expected"), [("min", 1.0), ("mean_std", 3.0 - 2.0 * 2)])
def test_ensemble_value(value, expected):
    assert ensemble_value(torch.tensor([[1.0], [5.0]]), value, 2.0).tolist() == [expected]


@pytest.mark.parametrize("rows", [1, 4, 512])
def test_steps_are_read_alike_however_many_are_read_at_once(rows, monkeypatch):
    monkeypatch.setattr(imagine, "READ_ROWS", rows)
    state = {"total": torch.tensor([0.0, 10.0])}
    actions = torch.arange(20.0).reshape(2, 2, 5, 1)

    def objective(before, action, step):
        return step.reward + 1000 * before["total"]

    passed = state["total"][:, None, None] + actions[..., 0].cumsum(-1)
    expected = passed + 1000 * (passed - actions[..., 0])
    told = rollout(Counter(0.5), state, actions, objective)
    torch.testing.assert_close(told.objective, expected)
    assert told.cont.shape == (2, 2, 5) and (told.cont == 0.5).all()
    torch.testing.assert_close(told.feats[..., 0], passed)

    flat = actions.flatten(0, 1)
    followed = unroll(Counter(0.5), state, lambda t, _: flat[:, t], 2, 5, objective)
    torch.testing.assert_close(followed.objective, expected)
