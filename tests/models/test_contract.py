"""What every registered world model promises, whatever is inside it."""

import pytest
import torch

from robowm.models import MODELS
from robowm.models.protocol import (
    Decodes,
    EstimatesPose,
    PredictsSuccess,
    WorldModel,
    gather_state,
    repeat_state,
)
from robowm.models.rssm import RSSMConfig

from .conftest import random_batch

SMALL = {
    "rssm": RSSMConfig(
        deter=32, blocks=4, hidden=16, stoch=4, classes=4, embed=16, depth=4, open_loop_steps=2
    )
}


@pytest.fixture(params=sorted(MODELS))
def model(request, spec):
    torch.manual_seed(0)
    return MODELS[request.param](SMALL[request.param], spec)


def _observe(model, rows=3, seed=0, steps=2):
    batch = random_batch(model.spec, rows, steps, seed)
    state = model.initial(rows)
    for t in range(steps):
        obs = {k: batch[k][:, t] for k in model.spec.observation}
        state = model.observe(state, batch["prev_action"][:, t], obs, batch["is_first"][:, t])
    return state


def test_it_is_a_world_model(model):
    assert isinstance(model, WorldModel)


def test_shapes(model):
    state = _observe(model)
    assert all(leaf.shape[0] == 3 for leaf in state.values())
    assert model.feat(state).shape == (3, model.feat_size)
    after = model.step(state, torch.zeros(3, 3))
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in state.items()}
    reward, cont = model.predict(model.feat(after))
    assert reward.shape == cont.shape == (3,)
    assert ((cont >= 0) & (cont <= 1)).all()


def test_what_is_read_of_several_steps_at_once_is_what_is_read_of_each(model):
    state = _observe(model)
    steps = [model.step(state, action) for action in torch.rand(4, 3, 3)]
    feats = model.feat({k: torch.stack([s[k] for s in steps], 1) for k in state})
    assert feats.shape == (3, 4, model.feat_size)
    together = model.predict(feats)
    for t, step in enumerate(steps):
        torch.testing.assert_close(feats[:, t], model.feat(step))
        for at_once, alone in zip(together, model.predict(model.feat(step)), strict=True):
            torch.testing.assert_close(at_once[:, t], alone)


def test_loss_is_a_finite_scalar_with_states(model):
    batch = random_batch(model.spec, 3, 6)
    loss, metrics, states = model.loss(batch)
    assert loss.shape == () and loss.isfinite()
    assert metrics and all(torch.as_tensor(v).isfinite().all() for v in metrics.values())
    assert all(leaf.shape[:2] == (3, 6) for leaf in states.values())
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert not idle, f"the loss does not reach {idle}"


def test_an_outcome_that_is_not_known_teaches_nothing(model):
    batch = random_batch(model.spec, 3, 6)
    unknown = torch.full((3, 6), torch.nan)
    some = torch.where(torch.arange(3)[:, None] == 0, batch["outcome"], unknown)
    assert model.loss({**batch, "outcome": some})[0].isfinite()
    loss, metrics, _ = model.loss({**batch, "outcome": unknown})
    assert loss.isfinite() and metrics["loss/outcome"] == 0
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_it_learns_where_some_or_all_labels_are_missing(model):
    batch = random_batch(model.spec, 3, 6)
    labels = [name for name in batch if name.startswith("privileged/")]
    assert labels
    losses = []
    for kept in (1, 0):
        given = dict(batch)
        for name in labels:
            given[name] = batch[name].clone()
            given[name][kept:] = torch.nan
        model.zero_grad()
        torch.manual_seed(0)
        loss, metrics, _ = model.loss(given)
        loss.backward()
        assert all(torch.as_tensor(v).isfinite().all() for v in metrics.values())
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        losses.append(loss.item())
    assert losses[0] != losses[1], "the labels that are there teach something"


@pytest.mark.parametrize("name", ["reward", "success"])
def test_a_reward_or_success_that_nobody_told_teaches_nothing(model, name):
    batch = random_batch(model.spec, 3, 6)

    def loss_of(values):
        torch.manual_seed(0)
        loss, metrics, _ = model.loss({**batch, name: values})
        assert loss.isfinite()
        return loss, metrics[f"loss/{name}"]

    known = torch.arange(3)[:, None] == 0
    some = torch.where(known, batch[name], torch.nan)
    assert 0 < loss_of(some)[1] < loss_of(batch[name])[1], "what was told teaches something"
    loss, part = loss_of(torch.full((3, 6), torch.nan))
    assert part == 0
    model.zero_grad()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_is_first_forgets_everything(model):
    batch = random_batch(model.spec, 3, 1)
    obs = {k: batch[k][:, 0] for k in model.spec.observation}
    first = torch.ones(3, dtype=torch.bool)
    fresh = model.observe(model.initial(3), torch.zeros(3, 3), obs, first)
    used = model.observe(_observe(model, seed=5), batch["prev_action"][:, 0], obs, first)
    for name in fresh:
        torch.testing.assert_close(fresh[name], used[name], msg=name)


def test_without_is_first_the_past_matters(model):
    batch = random_batch(model.spec, 3, 1)
    obs = {k: batch[k][:, 0] for k in model.spec.observation}
    later = torch.zeros(3, dtype=torch.bool)
    a = model.observe(_observe(model, seed=5), torch.zeros(3, 3), obs, later)
    b = model.observe(_observe(model, seed=6), torch.zeros(3, 3), obs, later)
    assert (model.feat(a) - model.feat(b)).abs().max() > 1e-3


def test_permuting_the_batch_permutes_the_result(model):
    state, action = _observe(model), torch.rand(3, 3)
    order = torch.tensor([2, 0, 1])
    straight = model.step(state, action)
    permuted = model.step(gather_state(state, order), action[order])
    torch.testing.assert_close(model.feat(permuted), model.feat(gather_state(straight, order)))


def test_repeating_a_state_repeats_the_result(model):
    state, action = _observe(model), torch.rand(3, 3)
    once = model.feat(model.step(state, action))
    twice = model.feat(model.step(repeat_state(state, 2), action.repeat_interleave(2, 0)))
    torch.testing.assert_close(twice, once.repeat_interleave(2, 0))


def test_gradients_flow_through_step(model):
    state, action = _observe(model), torch.zeros(3, 3, requires_grad=True)
    after = model.step(model.step(state, action), action)
    model.feat(after).sum().backward()
    assert action.grad.abs().sum() > 0


def test_step_is_deterministic_unless_asked_to_sample(model):
    state, action = _observe(model), torch.rand(3, 3)
    a, b = (model.feat(model.step(state, action)) for _ in range(2))
    assert torch.equal(a, b)


def test_optional_abilities_have_their_shapes(model):
    state = _observe(model)
    if isinstance(model, Decodes):
        for name, value in model.decode(state).items():
            assert value.shape == (3, *model.spec.observation[name].shape)
    if isinstance(model, EstimatesPose):
        pose = model.pose(state)
        assert {k: v.shape for k, v in pose.items()} == {
            k: (3, *model.spec.privileged[k].shape) for k in model.spec.pose_keys
        }
    if isinstance(model, PredictsSuccess):
        probability = model.predict_success(state)
        assert probability.shape == (3,)
        assert ((probability >= 0) & (probability <= 1)).all()


def test_weights_are_on_no_fixed_device(model):
    """Built on the meta device, nothing is left behind on another."""
    meta = type(model)(model.config, model.spec).to("meta")
    state = meta.initial(2)
    after = meta.step(state, torch.zeros(2, 3, device="meta"), sample=True)
    assert {leaf.device.type for leaf in after.values()} == {"meta"}
