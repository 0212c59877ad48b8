"""Zones as a cost: the geometry agrees with points on a grid, and a planner goes round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robowm.errors import UserError
from robowm.models.protocol import Prediction, Step
from robowm.nets.distributions import MixedAction
from robowm.planning import PLANNERS
from robowm.planning.keep_out import KeepOut, Zone, turn_about_z
from robowm.planning.mppi import MPPIConfig

BALLS = {
    "hand_balls": np.array([[0.0, 0.0, 0.0, 0.01, 0.0], [0.0, 0.01, 0.0, 0.01, 1.0]]),
    "object_balls": np.array([[0.02, 0.0, 0.0, 0.01]]),
    "hand_in_proprio": np.array(1),
}


class Puppet:
    """Hand and object are where the state says."""

    def pose(self, state):
        return {"object_position": state["object"], "object_yaw": state["yaw"]}

    def proprio(self, state):
        rows = len(state["hand"])
        axes = torch.tensor([1.0, 0, 0, 0, -1, 0]).expand(rows, 6)  # pointing down
        width = torch.full((rows, 1), 0.08)
        return torch.cat([torch.zeros(rows, 1), state["hand"], axes, width], 1)


def state_of(hand, thing=(9.0, 9.0, 9.0), yaw=0.0):
    return {
        "hand": torch.tensor([hand], dtype=torch.float32),
        "object": torch.tensor([thing], dtype=torch.float32),
        "yaw": torch.tensor([[np.sin(2 * yaw), np.cos(2 * yaw)]], dtype=torch.float32),
    }


def keep_out(box, **settings) -> Zone:
    constraints = {**BALLS, "keep_out": np.array([box])}
    return Zone(Puppet(), constraints, 2, **({"margin_m": 0.02, "weight": 10.0} | settings))


def test_gap_is_the_distance_of_the_nearest_ball() -> None:
    zone = keep_out([0.5, 0, 0.05, 0.02, 0.02, 0.05, 0.0])
    # The first ball's centre is 10 cm away in x from a face 2 cm from the middle, and 1 cm large.
    assert zone.gap(state_of([0.40, 0.0, 0.05])).item() == pytest.approx(0.07, abs=1e-5)
    # From the side the open finger is nearer: half of 8 cm plus 1 cm along the hand's y, which
    # points to the world's -y.
    assert zone.gap(state_of([0.5, 0.20, 0.05])).item() == pytest.approx(0.12, abs=1e-5)


def test_object_balls_turn_with_the_object() -> None:
    zone = keep_out([0.5, 0, 0.05, 0.02, 0.02, 0.05, 0.0])
    far = [9.0, 9.0, 9.0]
    along = zone.gap(state_of(far, (0.42, 0.0, 0.05), 0.0)).item()
    across = zone.gap(state_of(far, (0.42, 0.0, 0.05), np.pi / 2)).item()
    assert along == pytest.approx(0.03, abs=1e-5)
    assert across == pytest.approx(np.hypot(0.06, 0.0) - 0.01, abs=1e-5)


@given(
    st.tuples(*[st.floats(-0.2, 0.2)] * 3),
    st.tuples(*[st.floats(0.01, 0.1)] * 3),
    st.floats(-3.0, 3.0),
)
def test_gap_agrees_with_the_nearest_point_of_the_box(place, half, yaw) -> None:
    zone = keep_out([0, 0, 0, *half, yaw])
    centre = np.array(place) @ turn_about_z(torch.tensor([yaw]))[0].double().numpy()
    nearest = np.clip(centre, -np.array(half), half)
    outside = np.linalg.norm(centre - nearest)
    gap = zone.gap(state_of(place)).item()
    if outside > 0.09:  # whichever ball is nearest, none is further than its reach
        assert gap > outside - 0.09
    assert gap <= outside - 0.01 + 1e-5  # the first ball sits at the tool point
    if outside == 0:
        assert gap < 0


def test_costs_nothing_beyond_the_margin_and_a_weight_at_the_surface() -> None:
    zone = keep_out([0.5, 0, 0.05, 0.02, 0.02, 0.05, 0.0], margin_m=0.02, weight=10.0)
    x = torch.zeros(1)
    for distance, cost in ((0.03, 0.0), (0.01, 5.0), (0.0, 10.0), (-0.005, 12.5)):
        state = state_of([0.48 - 0.01 - distance, 0.0, 0.05])
        assert zone.cost(state).item() == pytest.approx(cost, abs=1e-3)
        assert KeepOut([zone])(state, x, Step(state, x + 1, x)).item() == pytest.approx(
            1 - cost, abs=1e-3
        )


def test_each_belief_has_its_own_box() -> None:
    near = keep_out([0.5, 0, 0.05, 0.02, 0.02, 0.05, 0.0])
    far = keep_out([0.9, 0, 0.05, 0.02, 0.02, 0.05, 0.0])
    one = state_of([0.47, 0.0, 0.05])
    four = {name: value.repeat(4, 1) for name, value in one.items()}  # two futures of each belief
    cost = KeepOut([near, far]).cost(four)
    torch.testing.assert_close(cost, near.cost(one) * torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert cost[0] > 0


def test_says_what_is_wrong_with_a_box_and_with_a_model() -> None:
    with pytest.raises(UserError, match="half edges"):
        keep_out([0, 0, 0, 0.1, -0.1, 0.1, 0])
    with pytest.raises(UserError, match="pose slot"):
        Zone(object(), {**BALLS, "keep_out": np.zeros((1, 7))}, 2, 0.02, 10.0)


class Grasp:
    """A thing on a line, held after two steps of a closed hand that keeps still; moved before, it is
    lost. Whoever holds it is paid for going up to 1, and for not holding it, nothing."""

    feat_size = 3

    def step(self, state, action, sample=False):
        height, held, lost = state["x"].unbind(1)
        lost = torch.where((held < 2) & (action[:, :2].abs().amax(1) > 0.25), 1.0, lost)
        held = torch.where(action[:, 2] > 0, held + 1, 0.0) * (1 - lost)
        x = torch.stack([height + 0.2 * action[:, 0] * (held > 2), held, lost], 1)
        aside = state["aside"] + 0.2 * action[:, 1] * (held > 2)
        return {"x": x, "aside": aside}

    def feat(self, state):
        return state["x"]

    def predict(self, feat):
        height, held, _ = feat.unbind(-1)
        reward = torch.where(held > 0, height.clamp(max=1) + 0.1, 0.0)
        return Prediction(reward, torch.ones_like(reward))


class CloseThenRise:
    def __call__(self, feat):
        up = (feat[..., 1] >= 2).float()
        mean = torch.stack([up, 0 * up, torch.ones_like(up)], -1)
        switch = torch.tensor([False, False, True])
        return MixedAction(mean, torch.full_like(mean, 0.05), 4 * mean, switch)


class Ceiling:
    """Above 0.15, but for those who go aside first."""

    def __call__(self, state, action, step):
        return step.reward - self.cost(step.state)

    def cost(self, state):
        return 30.0 * ((state["x"][:, 0] > 0.15) & (state["aside"].abs() < 0.1))


def test_a_way_round_may_begin_after_the_grasp(spec):
    # Proposals that leaned from the first step lost the object; the planner then never closed the hand.
    config = MPPIConfig(samples=40, iterations=1, policy_samples=8, leaning_samples=48)
    planner = PLANNERS["mppi"](config, Grasp(), spec.action, [CloseThenRise()])
    planner._keep_out = Ceiling()
    plan = planner.plan({"x": torch.zeros(1, 3), "aside": torch.zeros(1)})
    assert (plan.sequence[0, :, 2] == 1).all()
    assert plan.states[-1]["x"][0, 1] >= 6  # held all the way
    assert all(Ceiling().cost(state) == 0 for state in plan.states)
    assert plan.states[-1]["aside"].abs() > 0.1
