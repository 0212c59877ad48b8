"""The joint trajectory controller of the stand-in arm, by its own clock."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robowm.dispatch.bench.trajectory_controller import (
    ControllerConfig,
    ControllerState,
    TrajectoryController,
)
from robowm.dispatch.trajectory import Trajectory
from robowm.dispatch.wire.messages import JointTrajectory
from robowm.errors import UserError

JOINTS = ("shoulder", "elbow", "gripper")
LOW, HIGH = np.array([-2.0, -2.0, 0.0]), np.array([2.0, 2.0, 0.08])
VELOCITY = np.array([2.0, 2.0, np.inf])
START = np.array([0.1, -0.2, 0.08])
DT = 0.002
QUICKLY = settings(max_examples=40, deadline=None)


def controller(**settings):
    made = TrajectoryController(ControllerConfig(**settings), JOINTS, LOW, HIGH, VELOCITY)
    made.start(0.0, START)
    return made


def trajectory(q, times=None, dq=None, names=JOINTS, stamp_s=0.0):
    q = np.array(q, float)
    times = 0.1 * np.arange(1, len(q) + 1) if times is None else np.array(times, float)
    dq = np.zeros_like(q) if dq is None else np.array(dq, float)
    return JointTrajectory(stamp_s, names, times, q, dq)


GOOD = trajectory(
    [[0.15, -0.1, 0.08], [0.3, 0.0, 0.0]], times=[0.1, 0.3], dq=[[0.8, 0.9, 0], [0, 0, 0]]
)


def follow(arm, begin_s, end_s, off=0.0):
    """Desired [T, N] of an arm that is ``off`` of what it is told, turn by turn."""
    path, (q, dq) = [], arm.update(begin_s, begin_s, *arm._measured)
    for now in np.arange(begin_s, end_s, DT):
        q, dq = arm.update(now, now + DT, q + off, dq)
        path.append(q)
    return np.array(path)


@QUICKLY
@given(
    st.lists(
        st.tuples(
            *[st.floats(-1.5, 1.5)] * 2, *[st.floats(-2, 2)] * 2, st.floats(0.02, 0.5)
        ),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_it_follows_the_same_cubics_as_who_plans(points):
    arm = controller(path_tolerance_rad=0.0)
    rows = np.array(points)
    q, dq = np.insert(rows[:, :2], 2, 0.04, 1), np.insert(rows[:, 2:4], 2, 0.0, 1)
    dq[-1] = 0.0
    times = np.cumsum(rows[:, 4])
    assert arm.accept(trajectory(q, times, dq), 0.0) == ""
    same = Trajectory(np.append(0.0, times), np.vstack([START, q]), np.vstack([np.zeros(3), dq]))
    for now in np.linspace(0.0, times[-1] + 0.1, 40):
        desired = arm.update(now, now, START, np.zeros(3))
        for ours, theirs in zip(desired, same.at(now), strict=False):
            np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_it_passes_the_points_and_stays_at_the_last():
    arm = controller()
    assert arm.accept(GOOD, 1.0) == "" and arm.state is ControllerState.FOLLOWING
    path = follow(arm, 1.0, 2.0)
    np.testing.assert_allclose(path[49], GOOD.position[0], atol=1e-6)
    np.testing.assert_allclose(path[149:], GOOD.position[-1:].repeat(351, 0), atol=1e-6)
    assert arm.state is ControllerState.ARRIVED


def test_without_velocities_lines_are_straight():
    arm = controller()
    sent = dataclasses.replace(GOOD, velocity=np.zeros((0, 3)))
    assert arm.accept(sent, 0.0) == ""
    q, dq = arm.update(0.0, 0.2, START, np.zeros(3))
    np.testing.assert_allclose(q, GOOD.position.mean(0))
    np.testing.assert_allclose(dq, np.diff(GOOD.position, axis=0)[0] / 0.2)


def test_joints_come_in_any_order():
    shuffled = [2, 0, 1]
    sent = JointTrajectory(
        0.0, tuple(JOINTS[i] for i in shuffled), GOOD.time_s,
        GOOD.position[:, shuffled], GOOD.velocity[:, shuffled],
    )  # fmt: skip
    one, other = controller(), controller()
    assert one.accept(GOOD, 0.0) == other.accept(sent, 0.0) == ""
    np.testing.assert_array_equal(follow(one, 0.0, 0.4), follow(other, 0.0, 0.4))


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("names", {"names": ("shoulder", "elbow")}, "misses gripper"),
        ("names", {"names": ("shoulder", "wrist", "gripper")}, "knows no wrist and misses elbow"),
        ("names", {"names": (*JOINTS, "elbow")}, "twice"),
        ("empty", {"time_s": np.zeros(0), "position": np.zeros((0, 3)), "velocity": np.zeros((0, 3))}, "no points"),
        ("sizes", {"position": GOOD.position[:1]}, "shape"),
        ("sizes", {"velocity": GOOD.velocity[:, :2]}, "shape"),
        ("finite", {"position": np.full((2, 3), np.nan)}, "finite"),
        ("finite", {"velocity": np.full((2, 3), np.inf)}, "finite"),
        ("finite", {"time_s": np.array([0.1, np.nan])}, "finite"),
        ("times", {"time_s": np.array([0.3, 0.3])}, "increasing"),
        ("times", {"time_s": np.array([-0.1, 0.3])}, "increasing"),
        ("end_velocity", {"velocity": np.full((2, 3), 0.1)}, "ends at 0.1 rad/s"),
        ("limits", {"position": GOOD.position + [0, 2.1, 0]}, "elbow would leave"),
        ("limits", {"position": GOOD.position - [0, 0, 0.01]}, "gripper would leave"),
        ("past", {"time_s": np.array([0.0]), "position": GOOD.position[:1], "velocity": np.zeros((1, 3))}, "no point is left"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_rejected_counted_and_changes_nothing(kind, changes, said):
    arm, same = controller(), controller()
    for each in (arm, same):
        each.accept(GOOD, 0.0)
    reason = arm.accept(dataclasses.replace(GOOD, **changes), 0.0)
    assert said in reason and arm.last_rejection == reason
    assert arm.rejected == {kind: 1} and arm.accepted == 1
    np.testing.assert_array_equal(follow(arm, 0.0, 0.4), follow(same, 0.0, 0.4))


def test_of_one_that_began_earlier_the_past_points_are_left_out():
    arm = controller()
    assert arm.accept(GOOD, 1.0, start_s=0.8) == ""  # its first point was due 0.1 s ago
    path = follow(arm, 1.0, 1.2)
    np.testing.assert_allclose(path[0], START, atol=1e-3)  # nothing jumps
    np.testing.assert_allclose(path[49], GOOD.position[-1], atol=1e-6)  # due at 1.1 s
    assert path[:, 0].max() <= 0.3 + 1e-9


def test_one_that_is_over_is_rejected():
    arm = controller()
    assert "ended 0.700 s ago" in arm.accept(GOOD, 1.0, start_s=0.0)
    assert arm.rejected == {"past": 1} and arm.state is ControllerState.HOLDING


def test_one_that_starts_later_leaves_the_running_one_until_then():
    arm, same = controller(), controller()
    for each in (arm, same):
        each.accept(GOOD, 0.0)
    other = trajectory([[0.0, 0.0, 0.08]], times=[0.5])
    assert arm.accept(other, 0.05, start_s=0.2) == ""
    path, kept = follow(arm, 0.05, 0.75), follow(same, 0.05, 0.75)
    np.testing.assert_allclose(path[:74], kept[:74], atol=1e-12)
    np.testing.assert_allclose(path[-1], other.position[0], atol=1e-6)


@pytest.mark.parametrize("from_desired", [True, False])
def test_a_new_one_begins_at_the_desired_or_at_the_measured_state(from_desired):
    arm = controller(interpolate_from_desired_state=from_desired)
    arm.accept(GOOD, 0.0)
    off = np.array([0.02, -0.03, -0.05])
    desired = follow(arm, 0.0, 0.15, off)[-1]
    now, (measured, speed) = 0.15, arm._measured
    arm.accept(trajectory([[0.5, 0.5, 0.0]], times=[1.0]), now)
    q, _ = arm.update(now, now, measured, speed)
    expected = desired if from_desired else measured
    np.testing.assert_allclose(q[:2], expected[:2], atol=1e-9)
    np.testing.assert_allclose(q[2], desired[2], atol=1e-9)  # the gripper does not let go


def test_speed_is_continuous_where_trajectories_replace_each_other():
    arm, turn = controller(), 0.0
    rng = np.random.default_rng(0)
    speeds = []
    for now in np.arange(0.0, 2.0, DT):
        if now >= turn:
            target = np.append(rng.uniform(-1, 1, 2), 0.04)
            assert arm.accept(trajectory([target], times=[1.0]), now) == ""
            turn += 0.1
        speeds.append(arm.update(now, now + DT, *arm._desired)[1])
    assert np.abs(np.diff(speeds, axis=0)).max() < 0.05  # 25 rad/s^2


def test_off_the_path_it_aborts_and_brakes_where_the_arm_is():
    arm = controller(path_tolerance_rad=0.05)
    arm.accept(GOOD, 0.0)
    stuck = START + [0.0, 0.0, -0.03]
    for now in np.arange(0.0, 0.6, DT):
        desired, speed = arm.update(now, now + DT, stuck, np.zeros(3))
    assert arm.aborts == 1 and "elbow is 0.05" in arm.last_abort
    assert arm.state is ControllerState.HOLDING and not speed.any()
    np.testing.assert_allclose(desired[:2], stuck[:2])


def test_a_gripper_keeps_its_target_while_the_arm_holds():
    arm = controller(path_tolerance_rad=0.05)
    arm.accept(trajectory([[0.1, -0.2, 0.0]], times=[0.1]), 0.0)
    follow(arm, 0.0, 0.2, off=np.array([0.0, 0.0, 0.05]))  # it holds something
    follow(arm, 0.2, 0.3, off=np.array([0.1, 0.0, 0.05]))
    arm.accept(GOOD, 0.3)
    follow(arm, 0.3, 0.34, off=np.array([0.1, 0.0, 0.05]))
    assert arm.aborts == 1 and arm._desired[0][2] < 0.04


def test_a_goal_that_is_not_reached_in_time_is_given_up():
    arm = controller(goal_tolerance_rad=0.02, goal_time_s=0.5)
    arm.accept(GOOD, 0.0)
    off = np.array([0.03, 0.0, 0.0])
    path = follow(arm, 0.0, 0.78, off)
    assert arm.aborts == 0 and arm.state is ControllerState.ARRIVED
    follow(arm, 0.78, 0.82, off)
    assert arm.aborts == 1 and "shoulder is 0.030 rad off the goal" in arm.last_abort
    np.testing.assert_allclose(arm._desired[0], path[-1] + off, atol=1e-9)


def test_after_the_timeout_it_brakes_what_did_not_end_at_rest():
    arm = controller(
        allow_nonzero_velocity_at_trajectory_end=True, cmd_timeout_s=0.1, path_tolerance_rad=0.0
    )
    moving = dataclasses.replace(GOOD, velocity=np.tile([1.0, 0.5, 0.0], (2, 1)))
    assert arm.accept(moving, 0.0) == ""
    follow(arm, 0.0, 0.38)
    assert arm.state is ControllerState.ARRIVED and arm._desired[1].any()
    follow(arm, 0.38, 0.5)
    assert arm.state is ControllerState.HOLDING and not arm._desired[1].any()


def test_without_a_timeout_it_stays():
    arm = controller()
    arm.accept(GOOD, 0.0)
    follow(arm, 0.0, 5.0)
    assert arm.state is ControllerState.ARRIVED and arm.aborts == 0


@QUICKLY
@given(st.floats(0.0, 0.35))
def test_stopping_brakes_within_the_deceleration(moment):
    arm = controller(deceleration=5.0)
    arm.accept(GOOD, 0.0)
    path = [*follow(arm, 0.0, moment)[-1:]]
    arm.stop(moment)
    path = np.array([*path, *follow(arm, moment, moment + 0.5)])
    speed = np.diff(path, axis=0)[1:, :2] / DT
    assert np.abs(np.diff(speed, axis=0)).max(initial=0.0) / DT < 5.0 + 0.1
    assert not arm._desired[1].any() and arm.state is ControllerState.HOLDING


ANY = st.floats(-3, 3) | st.sampled_from([np.nan, np.inf, 1e300])


@QUICKLY
@given(st.data())
def test_whatever_comes_the_drives_are_told_numbers_within_the_end_stops(data):
    count, width = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 4))
    array = st.lists(ANY, min_size=count * width, max_size=count * width)
    names = data.draw(st.permutations([*JOINTS, "thumb"]))[:width]
    sent = JointTrajectory(
        data.draw(ANY),
        tuple(names),
        np.array(data.draw(st.lists(ANY, min_size=count, max_size=count))),
        np.array(data.draw(array)).reshape(count, width),
        np.zeros((count, width)),
    )
    arm = controller(path_tolerance_rad=0.0)
    reason = arm.accept(sent, 1.0, data.draw(st.none() | st.floats(-1, 2)))
    assert bool(reason) == (sum(arm.rejected.values()) == 1) == (arm.accepted == 0)
    for now in np.linspace(1.0, 6.0, 20):
        q, dq = arm.update(now, now, START, np.zeros(3))
        assert np.isfinite(q).all() and np.isfinite(dq).all()
        assert (q >= LOW - 1e-5).all() and (q <= HIGH + 1e-5).all()


@pytest.mark.parametrize("wrong", [{"deceleration": 0.0}, {"cmd_timeout_s": -1.0}])
def test_settings_that_are_none_are_refused(wrong):
    with pytest.raises(UserError, match="0 or more"):
        ControllerConfig(**wrong)
