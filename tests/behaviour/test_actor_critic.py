"""Returns against hand-computed values, and a critic whose truth is known."""

import pytest
import torch

from robowm.behaviour.actor_critic import ActorCritic, ActorCriticConfig, lambda_returns
from robowm.models.protocol import Prediction
from robowm.spec import ActionSpec


def test_lambda_returns_by_hand():
    reward = torch.tensor([[1.0], [2.0]])
    value = torch.tensor([[9.0], [3.0], [4.0]])
    discount = torch.full((2, 1), 0.5)
    # last: 2 + 0.5 * 4 = 4; first: 1 + 0.5 * (0.2 * 3 + 0.8 * 4) = 2.9
    got = lambda_returns(reward, discount, value, trace=0.8)
    torch.testing.assert_close(got, torch.tensor([[2.9], [4.0]]))


def test_lambda_returns_end_where_the_episode_ends():
    reward, value = torch.ones(2, 1), torch.full((3, 1), 100.0)
    discount = torch.tensor([[0.0], [0.9]])
    assert lambda_returns(reward, discount, value, 0.95)[0] == 1.0


class Line:
    """A world whose reward is the first action: acting with 1 is best, whatever the state."""

    def feat(self, state):
        return state["x"]

    def step(self, state, action, sample=False):
        return {"x": torch.cat([action[:, :1], state["x"][:, 1:]], 1)}

    def predict(self, feat):
        return Prediction(feat[..., 0], torch.ones_like(feat[..., 0]))


def _train(config, updates, label):
    torch.manual_seed(0)
    action = ActionSpec(("push", "gripper"), (1.0, 1.0), (False, True))
    behaviour = ActorCritic(config, 3, action)
    states = {"x": torch.ones(8, 4, 3)}
    batch = {"has_action": torch.ones(8, 4), "expert_action": label.expand(8, 4, 2)}
    optimiser = torch.optim.Adam([p for p in behaviour.parameters() if p.requires_grad], 3e-3)
    for _ in range(updates):
        optimiser.zero_grad()
        behaviour.loss(Line(), batch, states)[0].backward()
        optimiser.step()
        behaviour.after_update()
    return behaviour


def test_critic_learns_the_value_of_what_the_actor_does():
    config = ActorCriticConfig(
        hidden=32,
        layers=1,
        horizon=5,
        starts=1.0,
        begin=0,
        interval=1,
        discount=0.9,
        improvement=0.0,
    )
    behaviour = _train(config, 400, torch.tensor([0.5, 1.0]))
    values = behaviour.critic(torch.ones(1, 3))
    assert values.shape == (config.critics, 1)
    assert float(values.detach().mean()) == pytest.approx(0.5 / (1 - 0.9), rel=0.15)


def test_improvement_moves_the_actor_beyond_its_demonstrations():
    config = ActorCriticConfig(
        hidden=32, layers=1, horizon=5, starts=1.0, begin=0, interval=1, discount=0.9,
        imitation=0.05, improvement=1.0,
    )  # fmt: skip
    label = torch.tensor([0.0, 1.0])
    improved = _train(config, 300, label).policy(torch.ones(1, 3)).mode()[0, 0]
    assert improved > 0.2
