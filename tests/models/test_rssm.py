"""What is particular to the RSSM: KL balance, the slot, the scan."""

import dataclasses

import pytest
import torch

from robowm.models.rssm import RSSM, RSSMConfig

from .conftest import random_batch, task_spec, vector

SMALL = RSSMConfig(
    deter=32, blocks=4, hidden=16, stoch=4, classes=4, embed=16, depth=4, open_loop_steps=2
)


def build(mode="state", **changes) -> RSSM:
    torch.manual_seed(0)
    return RSSM(dataclasses.replace(SMALL, **changes), task_spec(mode))


def test_free_nats_silence_the_kl_below_their_bound():
    model = build(free_nats=1e6)
    _, metrics, _ = model.loss(random_batch(model.spec, 2, 5))
    assert metrics["loss/dynamics"] == metrics["loss/representation"] == 1e6
    assert metrics["kl"] < 1e6


def test_kl_balance_trains_prior_and_posterior_apart():
    """The dynamics term moves the prior alone, the representation term the posterior alone.

    One step long, so that nothing is fed back through the state.
    """
    model = build(free_nats=0.0)
    batch = random_batch(model.spec, 2, 1)
    for term, moved, still in (
        ("dynamics", model.prior_head, model.posterior_head),
        ("representation", model.posterior_head, model.prior_head),
    ):
        model.zero_grad()
        scales = {f.name: 0.0 for f in dataclasses.fields(model.config.scales)} | {term: 1.0}
        model.config.scales = type(model.config.scales)(**scales)
        model.loss(batch)[0].backward()
        assert sum(p.grad.abs().sum() for p in moved.parameters()) > 0
        assert all(p.grad is None or p.grad.abs().sum() == 0 for p in still.parameters())


def test_scan_equals_observing_step_by_step():
    model = build("pixels")
    batch = random_batch(model.spec, 2, 4)
    batch["is_first"][1, 2] = True
    model._noise = lambda rows: None  # modes in place of samples
    flat = {k: batch[k].flatten(0, 1) for k in model.spec.observation}
    encoded = [x.unflatten(0, (2, 4)) for x in model._encode(flat)]
    state, rows = model.initial(2), []
    for t in range(4):
        obs = {k: batch[k][:, t] for k in model.spec.observation}
        state = model.observe(state, batch["prev_action"][:, t], obs, batch["is_first"][:, t])
        rows.append(state)
    model._noise = lambda n: torch.zeros(n, 4, 4)
    prev = batch["prev_action"] * (~batch["is_first"])[..., None]
    states, _, _ = model._scan(prev, *encoded, batch["is_first"])
    for name in state:
        torch.testing.assert_close(
            states[name], torch.stack([r[name] for r in rows], 1), atol=1e-5, rtol=1e-4
        )


def test_slot_carries_proprioception_as_observed():
    model = build()
    batch = random_batch(model.spec, 3, 1)
    obs = {k: batch[k][:, 0] for k in model.spec.observation}
    state = model.observe(model.initial(3), torch.zeros(3, 3), obs, batch["is_first"][:, 0])
    torch.testing.assert_close(state["slot"][:, 5:], obs["proprio"])
    torch.testing.assert_close(model.decode(state)["proprio"], obs["proprio"])


def test_goal_stays_as_it_was_through_imagination():
    model = build()
    batch = random_batch(model.spec, 3, 1)
    obs = {k: batch[k][:, 0] for k in model.spec.observation}
    state = model.observe(model.initial(3), torch.zeros(3, 3), obs, batch["is_first"][:, 0])
    later = model.step(model.step(state, torch.rand(3, 3)), torch.rand(3, 3))
    assert torch.equal(later["goal"], state["goal"])


@pytest.mark.parametrize("told", [False, True])
def test_what_is_seen_does_not_depend_on_what_is_wanted(told):
    """An encoder that was told the goal believed the block to lie as the goal would have it."""
    model = build("pixels", encode_goal=told)
    batch = random_batch(model.spec, 2, 1)
    obs = {k: batch[k][:, 0] for k in model.spec.observation}
    first, nothing = torch.ones(2, dtype=torch.bool), torch.zeros(2, 3)
    one = model.observe(model.initial(2), nothing, obs, first)
    other = model.observe(model.initial(2), nothing, obs | {"goal": -obs["goal"]}, first)
    assert torch.equal(one["slot"], other["slot"]) is not told
    assert not torch.equal(model.feat(one), model.feat(other))


def test_features_hold_the_sine_and_cosine_of_a_sum_of_turns():
    """A policy that had to add the block's turn and the wanted one overfitted (`stack`)."""
    model = build(turn_products=True, relations=False)
    plain = build(relations=False)
    assert model.feat_size == plain.feat_size + 2 * (2 + 5)  # object_yaw times itself and the goal
    one, other = torch.tensor(0.7), torch.tensor(-1.9)
    state = model.initial(1)
    state["slot"][0, 3:5] = torch.stack([one.sin(), one.cos()])
    state["goal"][0, 3:5] = torch.stack([other.sin(), other.cos()])
    products = model.feat(state)[0, -14:].unflatten(0, (2, 7)) / 3
    (ss, sc), (cs, cc) = products[:, -2:]
    torch.testing.assert_close(
        torch.stack([sc + cs, cc - ss]), torch.stack([(one + other).sin(), (one + other).cos()])
    )


def test_pose_is_in_metres():
    model = build()
    state = model.initial(1)
    state["slot"] = torch.ones_like(state["slot"])
    torch.testing.assert_close(model.pose(state)["object_position"], torch.full((1, 3), 0.3))


def test_the_slot_holds_every_object_and_errors_are_the_first_ones():
    own = task_spec("state")
    base = {"base_position": vector(3, 0.3), "base_yaw": vector(2)}
    spec = dataclasses.replace(own, privileged=base | dict(own.privileged))
    keys = ("base_position", "base_yaw", "object_position", "object_yaw")
    assert spec.pose_keys == keys
    model = RSSM(SMALL, spec)
    assert tuple(model.pose(model.initial(2))) == keys
    truth = torch.zeros(4, 10)
    truth[:, [4, 9]] = 1.0  # the cosines
    read = truth.clone()
    read[:, :3], read[:, 3:5] = 1.0, torch.tensor([1.0, 0.0])  # all amiss, of the base
    read[:, 5] = 0.1
    states = {"slot": read}
    errors = model._pose_errors(read, states, read, truth, torch.ones(4), torch.ones(4))
    assert float(errors["position_error_cm/read"]) == pytest.approx(100 * 0.1 * 0.3)
    assert float(errors["rotation_error_deg/read"]) == 0.0
    loss, _, _ = model.loss(random_batch(spec, 2, 5))
    assert loss.isfinite()


def test_the_rotation_error_of_an_object_with_ends_is_that_of_its_axis():
    first = {"base_position": vector(3, 0.3), "base_yaw": vector(2)}
    own = {"object_position": vector(3, 0.3), "object_rotation": vector(3)}
    spec = dataclasses.replace(task_spec("state"), privileged=first | own)
    model = RSSM(SMALL, spec)
    truth = torch.zeros(4, 11)
    truth[:, 8] = 1.0
    read = truth.clone()
    read[:, 8:] = torch.tensor([0.0, 0.0, 0.5])  # a right angle off, and too short
    errors = model._pose_errors(read, {"slot": truth}, truth, truth, torch.ones(4), torch.ones(4))
    assert float(errors["rotation_error_deg/read"]) == pytest.approx(90.0)
    assert float(errors["rotation_error_deg/posterior"]) == 0.0
    loss, metrics, _ = model.loss(random_batch(spec, 2, 5))
    assert loss.isfinite() and "rotation_error_deg/prior" in metrics


@pytest.mark.parametrize(
    "changes", [{"pose_slot": False}, {"privileged": False}, {"open_loop_steps": 0}]
)
@pytest.mark.parametrize("mode", ["pixels", "state"])
def test_each_part_can_be_left_out(mode, changes):
    model = build(mode, **changes)
    loss, _, _states = model.loss(random_batch(model.spec, 2, 5))
    assert loss.isfinite()
    model.step(model.initial(2), torch.zeros(2, 3))


def test_the_short_way_of_planning_gives_the_same_step():
    model = build()
    state, action = model.initial(3), torch.rand(3, 3)
    long = model.step(state, action)
    with torch.no_grad():
        short = model.step(state, action)
    for name, leaf in long.items():
        torch.testing.assert_close(leaf, short[name], msg=name)


def test_no_simulator_state_is_read_at_run_time():
    """Observing and imagining never see what is privileged: only the loss does."""
    model = build()
    batch = random_batch(model.spec, 2, 1)
    obs = {k: batch[k][:, 0] for k in model.spec.observation}
    assert not set(obs) & set(model.spec.privileged)
    model.observe(model.initial(2), torch.zeros(2, 3), obs, batch["is_first"][:, 0])


@pytest.mark.slow
def test_it_overfits_one_episode():
    """On one episode, repeated, reward and pose errors fall to a small part of where they began."""
    model = build("pixels", hidden=64, deter=64, embed=64)
    batch = random_batch(model.spec, 1, 8)
    batch["reward"] = batch["reward"].cumsum(1) / 8
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    seen = []
    for _ in range(400):
        optimiser.zero_grad()
        loss, metrics, _ = model.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        seen.append({k: float(v) for k, v in metrics.items()})
    assert seen[-1]["loss/pose"] < 0.1 * seen[0]["loss/pose"]
    assert seen[-1]["loss/image"] < 0.5 * seen[0]["loss/image"]
    assert seen[-1]["position_error_cm/posterior"] < 1.0
