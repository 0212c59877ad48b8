"""Trajectories: closed forms against sampling, and what becomes of them on the way to an arm."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robowm.dispatch.arm import ArmSpec
from robowm.dispatch.trajectory import Trajectory, chunk_of, through

SPEC = ArmSpec(
    joints=("shoulder", "elbow", "gripper"),
    position_low=(-2.0, -2.0, 0.0),
    position_high=(2.0, 2.0, 0.08),
    velocity=(2.0, 1.0, np.inf),
    acceleration=(20.0, 10.0, np.inf),
    jerk=(20_000.0, 20_000.0, np.inf),
    workspace_low=(-1.0, -1.0, 0.0),
    workspace_high=(1.0, 1.0, 1.0),
    rate_hz=10.0,
)
numbers = st.floats(-1.5, 1.5)
rows = st.lists(st.tuples(numbers, numbers, st.floats(0, 0.08)), min_size=1, max_size=5)


def spline(q, dq, steps):
    """Knots at the given places, one of ``steps`` seconds after the other."""
    return Trajectory(np.cumsum([0.0, *steps]), np.array(q, float), np.array(dq, float))


@st.composite
def splines(draw):
    count = draw(st.integers(2, 5))
    place = st.tuples(numbers, numbers, numbers)
    q, dq = (draw(st.lists(place, min_size=count, max_size=count)) for _ in range(2))
    steps = draw(st.lists(st.floats(0.05, 0.4), min_size=count - 1, max_size=count - 1))
    return spline(q, dq, steps)


@given(splines())
def test_extremes_are_those_of_the_curve(path):
    worst = path.extremes(servo_hz=500.0)
    knots = path.time_s
    times = np.unique(np.concatenate([knots, np.linspace(0, path.end_s, 2001)]))
    q, dq, _ = path.at(times[times < path.end_s])
    step = path.end_s / 2000
    assert (q >= worst.low - 1e-9).all() and (q <= worst.high + 1e-9).all()
    reached = worst.acceleration * step + 1e-9  # how far sampling may miss the top
    assert (np.abs(dq).max(0) <= worst.speed + 1e-9).all()
    assert (np.abs(np.vstack([dq, path.dq])).max(0) >= worst.speed - reached).all()
    assert (np.vstack([q, path.q]).max(0) >= worst.high - worst.speed * step - 1e-9).all()
    inside = np.concatenate([knots[:-1] + 1e-9, knots[1:] - 1e-9])
    np.testing.assert_allclose(
        np.abs(path.at(inside)[2]).max(0), worst.acceleration, rtol=1e-4, atol=1e-4
    )


@given(splines())
def test_jerk_is_the_most_that_a_sample_of_the_drive_sees(path):
    hz = 500.0
    worst = path.extremes(hz).jerk
    ends = path.time_s[1:-1, None] + np.linspace(-1 / hz, 0, 21)  # samples with a knot inside
    within = np.linspace(0, path.end_s - 2 / hz, 200)
    begins = np.concatenate([ends.ravel(), within, path.time_s[:-1]])
    begins = begins[begins + 1 / hz < path.end_s - 1e-9]
    seen = np.abs(path.at(begins + 1 / hz - 1e-12)[2] - path.at(begins)[2]) * hz
    assert (seen.max(0) <= worst * (1 + 1e-6) + 1e-6).all()
    last = path.end_s - np.linspace(1 / hz, 1e-9, 21)
    stops = np.abs(path.at(last)[2]).max(0) * hz  # and then it rests
    starts = np.where(path.dq[0] == 0, np.abs(path.at(0.0)[2]) * hz, 0.0)
    # Longer than a sample, every cubic shows its own jerk, and each knot its step.
    assert (np.maximum(np.maximum(seen.max(0), stops), starts) >= 0.9 * worst - 1.0).all()


def test_what_comes_before_makes_a_step_of_its_own():
    path = spline([[0, 0, 0], [0.1, 0, 0]], [[0, 0, 0], [0, 0, 0]], [0.2])
    first = path.at(0.0)[2][0]
    assert path.extremes(500.0).jerk[0] == pytest.approx(500 * first, rel=0.05)
    before = np.array([-first, 0, 0])
    assert path.extremes(500.0, before).jerk[0] == pytest.approx(2 * 500 * first, rel=0.05)
    assert path.extremes(500.0, -before).jerk[0] == pytest.approx(
        500 * first, rel=0.05
    )  # at the end


@given(splines())
def test_between_turns_no_joint_turns_back(path):
    turns = path.turns_s
    assert turns[0] == path.time_s[0] and turns[-1] == path.time_s[-1]
    for begin, end in itertools.pairwise(turns):
        steps = np.diff(path.at(np.linspace(begin, end, 20))[0], axis=0)
        assert ((steps >= -1e-9).all(0) | (steps <= 1e-9).all(0)).all()


@given(splines(), st.floats(0.0, 1.5))
def test_what_is_left_is_the_same_curve(path, share):
    now = share * path.end_s
    left = path.after(now)
    times = np.linspace(now, path.end_s + 0.1, 50)
    for one, other in zip(path.at(times)[:2], left.at(times)[:2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_it_rests_before_and_after():
    path = spline([[0, 0, 0], [1, 1, 1]], [[1, 1, 1], [1, 1, 1]], [0.5])
    q, dq, ddq = path.at(np.array([-1.0, 9.0]))
    np.testing.assert_array_equal(q, [[0, 0, 0], [1, 1, 1]])
    assert not dq.any() and not ddq.any()


@settings(max_examples=200)
@given(rows)
def test_planned_targets_keep_every_limit_and_end_at_rest(targets):
    before = Trajectory.rest(0.0, np.zeros(3))
    path = through(np.array(targets), before, 0.0, 0.1, 0.05, SPEC)
    worst = path.extremes(SPEC.servo_hz)
    assert (worst.speed[:2] <= np.array(SPEC.velocity[:2]) * (1 + 1e-9)).all()
    assert (worst.acceleration[:2] <= np.array(SPEC.acceleration[:2]) * (1 + 1e-6)).all()
    assert not path.dq[-1].any()
    assert path.q[-1, 2] == targets[-1][2]  # what has no limits is simply told


@given(st.lists(st.tuples(st.floats(-0.03, 0.03), st.floats(-0.03, 0.03)), min_size=1, max_size=5))
def test_targets_within_the_limits_are_reached_when_they_are_due(steps):
    targets = np.cumsum([[*step, 0.0] for step in steps], axis=0)
    loose = dataclasses.replace(SPEC, acceleration=(200.0, 200.0, np.inf))
    path = through(targets, Trajectory.rest(2.0, np.zeros(3)), 2.0, 0.1, 0.05, loose)
    due = 2.0 + 0.1 * np.arange(1, len(steps) + 1)
    np.testing.assert_allclose(path.at(due)[0], targets, atol=1e-9)


@given(rows, rows)
def test_a_chunk_is_the_same_curve_and_joins_what_is_under_way(first, second):
    rest = Trajectory.rest(0.0, np.zeros(3))
    one = through(np.array(first), rest, 0.0, 0.1, 0.05, SPEC)
    two = through(np.array(second), one, 0.1, 0.1, 0.05, SPEC)
    chunk = chunk_of(two, 0.05, 0.05, "plan", SPEC.joints)
    assert chunk.q.shape == chunk.dq.shape and not chunk.dq[-1].any()
    followed = one.then(chunk, 0.05)
    times = np.linspace(0.05, two.end_s + 0.2, 60)
    driven = slice(0, 2)  # the gripper jumps, and a cubic smooths that
    np.testing.assert_allclose(
        followed.at(times)[0][:, driven], two.at(times)[0][:, driven], atol=1e-6
    )
    np.testing.assert_allclose(followed.at(0.05)[0], one.at(0.05)[0], atol=1e-12)


def test_a_late_chunk_is_joined_at_the_waypoint_that_is_still_due():
    rest = Trajectory.rest(0.0, np.zeros(3))
    path = through(np.array([[0.02, 0, 0], [0.04, 0, 0]]), rest, 0.0, 0.1, 0.05, SPEC)
    chunk = chunk_of(path, 0.0, 0.05, "plan", SPEC.joints)
    late = rest.then(chunk, 0.12)
    assert late.time_s[0] == 0.12 and late.time_s[1] == pytest.approx(0.15)
    np.testing.assert_allclose(late.q[0], 0.0)
    gone = rest.then(dataclasses.replace(chunk, t0_s=-5.0), 0.12)
    np.testing.assert_allclose(gone.at(9.0)[0], 0.0)  # all of it is past: nothing moves


@given(splines())
def test_braking_begins_as_fast_as_it_is_and_keeps_the_limit(path):
    path = dataclasses.replace(path, dq=path.dq * [1, 1, 0], q=path.q * [1, 1, 0])
    stop = path.braking(0.5 * path.end_s, SPEC)
    q, dq, _ = path.at(0.5 * path.end_s)
    np.testing.assert_allclose(stop.at(stop.time_s[0])[0], q, atol=1e-9)
    dq[2] = 0.0  # a gripper has a target and no speed
    if len(stop.time_s) > 1:
        np.testing.assert_allclose(stop.dq[0], dq, atol=1e-9)
    assert not stop.dq[-1].any()
    assert (stop.extremes(500.0).acceleration[:2] <= np.array(SPEC.acceleration[:2])).all()


@given(
    st.lists(st.floats(-1.2, 1.2), min_size=1, max_size=6),
    st.floats(-0.9, 0.9),
    st.sampled_from([0.05, 0.025]),
)
def test_a_joint_that_is_driven_at_its_end_of_range_brakes_within_it(targets, start, dt_s):
    """A plan towards an end of range was refused: after its last step the arm braked beyond it."""
    spec = dataclasses.replace(
        SPEC,
        position_low=(-1.0, -1.0, 0.0),
        position_high=(1.0, 1.0, 0.08),
        acceleration=(45.0, 45.0, np.inf),
    )
    wanted = np.array([[q, -q, 0.0] for q in targets]).clip(spec.position_low, spec.position_high)
    rest = Trajectory.rest(0.0, np.array([start, 0.0, 0.0]))
    for steps in range(1, len(wanted) + 1):  # each of them may be the last that is sent
        worst = through(wanted[:steps], rest, 0.0, 0.1, dt_s, spec).extremes(spec.servo_hz)
        assert (worst.low >= np.array(spec.position_low) - 1e-9).all()
        assert (worst.high <= np.array(spec.position_high) + 1e-9).all()


@given(st.floats(0.0, 0.2), st.booleans())
def test_a_hold_while_the_gripper_closes_leaves_it_its_target(time_s, moving):
    """It was taken to brake like a joint, beyond the end of its stroke, and every plan then was refused."""
    targets = np.array([[0.1 * moving, 0.0, 0.0], [0.2 * moving, 0.0, 0.08]])
    rest = Trajectory.rest(0.0, np.array([0.0, 0.0, 0.08]))
    stop = through(targets, rest, 0.0, 0.1, 0.05, SPEC).braking(time_s, SPEC)
    assert stop.q[-1, 2] == (0.0 if time_s < 0.1 else 0.08)  # and not what comes later
    worst = stop.extremes(SPEC.servo_hz)
    assert worst.low[2] >= -1e-12 and worst.high[2] <= 0.08 + 1e-12
