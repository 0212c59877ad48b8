"""Where plans take over from what is followed: as arithmetic, and as motion."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robowm.dispatch.arm import ArmObservation, Receipt
from robowm.dispatch.online.splice import Grid, Schedule, join, lead
from robowm.dispatch.pilot import Pilot
from robowm.dispatch.record.records import Judged, Sent
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from tests.dispatch import toy
from tests.dispatch.live import LiveArm

SWITCHES = (False, False, True)
times = st.floats(-100, 100)
steps = st.integers(0, 50)
share = st.floats(-1, 1, width=32)


@settings(deadline=None)
@given(times, st.floats(0.01, 1), times)
def test_a_time_lies_in_its_step(origin_s, step_s, time_s):
    grid = Grid(origin_s, step_s)
    step, rounding = grid.at(time_s), 1e-5 * step_s
    assert grid.start_s(step) <= time_s + rounding
    assert time_s < grid.start_s(step + 1) + rounding
    assert grid.start_s(grid.next(time_s)) >= time_s - rounding
    assert grid.next(time_s) in (step, step + 1)


@settings(deadline=None)
@given(times, steps, st.floats(-2, 5))
def test_a_plan_is_joined_at_its_own_step_or_later_and_never_in_the_past(origin_s, meant, late_s):
    grid = Grid(origin_s, 0.1)
    ready_s = grid.start_s(meant) + late_s
    step, first = join(grid, meant, ready_s)
    assert step == meant + first and first >= 0
    assert grid.start_s(step) >= ready_s - 1e-6
    if late_s <= 0:
        assert first == 0  # in time: nothing of it is past
    else:
        assert grid.start_s(step) - ready_s < 0.1 + 1e-6  # no more is skipped than must be


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 2.0), min_size=1, max_size=50))
def test_so_far_ahead_that_most_plans_come_in_time(latencies):
    ahead = lead(latencies, 0.9, 0.1)
    assert ahead >= 1
    assert np.mean(np.array(latencies) <= ahead * 0.1 + 1e-6) >= 0.9
    if ahead > 1:
        assert np.mean(np.array(latencies) <= (ahead - 1) * 0.1 - 1e-6) < 0.9  # and no further


def test_nothing_measured_yet_means_one_step():
    assert lead([], 0.9, 0.1) == 1


@settings(deadline=None)
@given(st.lists(st.tuples(steps, st.lists(st.tuples(share, share, share), min_size=1, max_size=6)),
                min_size=1, max_size=8), steps)  # fmt: skip
def test_a_schedule_is_what_was_put_last_and_standing_still_elsewhere(puts, ask):
    schedule, meant = Schedule(SWITCHES), {}
    for step, actions in puts:
        schedule.put(step, actions)
        meant = {k: v for k, v in meant.items() if k < step}
        meant.update({step + h: action for h, action in enumerate(actions)})
    assert schedule.end == max(meant) + 1
    if ask in meant:
        np.testing.assert_allclose(schedule.at(ask), meant[ask], rtol=1e-6)
        return
    before = [k for k in meant if k < ask]
    switch = meant[max(before)][2] if before else -1.0
    np.testing.assert_allclose(schedule.at(ask), [0, 0, switch], rtol=1e-6)
    if not before:
        return
    schedule.forget(ask)  # what is past may go: switches are as they were
    np.testing.assert_allclose(schedule.at(ask), [0, 0, switch], rtol=1e-6)


def test_a_schedule_that_is_cut_stands_still_with_its_switches():
    schedule = Schedule(SWITCHES)
    schedule.put(3, [[1, 1, -1], [1, 1, 1], [1, 1, 1]])
    schedule.cut(4)
    np.testing.assert_array_equal(schedule.at(3), [1, 1, -1])
    np.testing.assert_array_equal(schedule.at(4), [0, 0, 1])  # it has begun: the gripper was told
    np.testing.assert_array_equal(schedule.at(9), [0, 0, 1])
    schedule.restart()
    assert schedule.end == 0
    np.testing.assert_array_equal(schedule.at(0), [0, 0, 1])


# ---------------------------------------------------------------------- motion


class Still(LiveArm):
    """Takes every chunk; its time is what it is told."""

    def observe_at(self, time_s, path):
        q, dq, _ = path.at(time_s)
        return ArmObservation(q, dq, {}, time_s, time_s, 0.0)

    def send(self, chunk):
        return Receipt(True, sent=len(chunk.q))


def piloted(told=None, **arm):
    arm = Still(**arm)
    arm.connect()
    gate = SafetyGate(SafetyConfig(), arm.spec, toy.PointBody())
    tell = (lambda record: None) if told is None else told.append
    return arm, Pilot(arm, gate, toy.PointCommander(), 0.1, 0.05, tell)


def knots(grid):
    return Grid(grid.origin_s, 0.05)


plans = st.lists(
    st.tuples(
        st.lists(st.tuples(share, share, share), min_size=1, max_size=6),  # actions
        st.floats(0.0, 0.5),  # time since the one before was sent
    ),
    min_size=2,
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(plans)
def test_from_plan_to_plan_place_and_speed_go_on(plans):
    """Whatever is planned and whenever it comes, what the arm follows has no gap."""
    arm, pilot = piloted()
    grid, now_s = Grid(0.0, 0.1), 0.0
    for number, (actions, waited_s) in enumerate(plans):
        now_s += waited_s
        before = pilot.gate.path(arm.observe_at(0.0, _rest(arm)))
        observation = arm.observe_at(now_s, before)
        step, _ = join(grid, number, now_s + 0.01)
        t0_s = knots(grid).start_s(knots(grid).at(now_s))
        outcome = pilot.send(np.array(actions), grid.start_s(step), t0_s, observation, "plan")
        if not outcome.accepted:
            assert "velocity" in outcome.reason or "acceleration" in outcome.reason
            continue
        after = pilot.gate.path(observation)
        for one, other in zip(before.at(now_s)[:2], after.at(now_s)[:2], strict=True):
            np.testing.assert_allclose(one[:2], other[:2], atol=1e-6)
        # Until its own step begins, the arm stays on what it followed.
        between = np.linspace(now_s, grid.start_s(step), 7)
        np.testing.assert_allclose(
            after.at(between)[0][:, :2], before.at(between)[0][:, :2], atol=1e-6
        )
        # Each action is done in its step.
        ends = grid.start_s(step) + 0.1 * np.arange(outcome.actions + 1)
        moved = np.diff(after.at(ends)[0][:, :2], axis=0)
        meant = toy.STEP_M * np.array(actions)[: outcome.actions, :2]
        late = np.abs(before.at(grid.start_s(step))[1][:2]).max()
        if late == 0 or outcome.actions > 1:
            np.testing.assert_allclose(moved.sum(0), meant.sum(0), atol=0.004)


def _rest(arm):
    return arm._path


def test_half_a_plan_is_tried_where_all_of_it_is_refused():
    told = []
    arm, pilot = piloted(told, workspace_high=(0.06, 1.0, 1.0))
    observation = arm.observe_at(0.0, _rest(arm))
    outcome = pilot.send(np.tile([1.0, 0, -1], (6, 1)), 0.1, 0.0, observation, "plan")
    assert outcome.accepted and outcome.actions == 1
    assert [type(record) for record in told] == [Judged, Sent]
    assert told[0].actions == 1 and told[0].decision.accepted


def test_a_preview_leaves_everything_as_it_was():
    told = []
    arm, pilot = piloted(told)
    observation = arm.observe_at(0.0, _rest(arm))
    outcome = pilot.send(np.tile([1.0, 0, -1], (3, 1)), 0.1, 0.0, observation, "p", preview=True)
    assert outcome.accepted and outcome.receipt is None
    assert pilot.gate.path(observation).end_s == 0.0
    assert [type(record) for record in told] == [Judged] and told[0].preview


def test_an_arm_that_takes_nothing_is_said():
    arm, pilot = piloted()
    arm.send = lambda chunk: Receipt(False, "it is asleep")
    outcome = pilot.send(np.zeros((1, 3)), 0.1, 0.0, arm.observe_at(0.0, _rest(arm)), "plan")
    assert not outcome.accepted and outcome.reason == "it is asleep"


class Winding(toy.PointCommander):
    """Counts what it commanded: each target is the number of those before it, in centimetres."""

    def __init__(self):
        self.count = 0

    def reset(self, q):
        self.count = 0

    def target(self, action, q):
        self.count += 1
        return np.array([0.01 * self.count, 0.0, 0.08])

    def state(self):
        return self.count

    def restore(self, state):
        self.count = state


def test_a_commander_goes_on_from_the_action_before():
    """Plans overlap: each begins with the command as the action before its first one left it."""
    arm, pilot = piloted()
    pilot._commander = Winding()
    path = _rest(arm)
    pilot.send(np.zeros((6, 3)), 0.1, 0.0, arm.observe_at(0.0, path), "plan")
    observation = arm.observe_at(0.2, pilot.gate.path(arm.observe_at(0.0, path)))
    pilot.send(np.zeros((2, 3)), 0.3, 0.2, observation, "plan")
    after = pilot.gate.path(observation)
    assert after.at(0.4)[0][0] == pytest.approx(0.03)  # third of all, not the seventh
    pilot.hold(observation)
    pilot.send(np.zeros((1, 3)), 0.5, 0.2, observation, "plan")
    assert pilot._commander.count == 1  # it commands what is
