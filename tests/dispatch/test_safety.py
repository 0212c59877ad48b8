"""The gate: what it lets through at each limit, and that it says why it does not."""

import copy
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robowm.dispatch.arm import ArmObservation, ArmSpec, ArmState, Chunk
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.dispatch.trajectory import Trajectory, chunk_of, through
from robowm.errors import UserError

SPEC = ArmSpec(
    joints=("shoulder", "elbow", "gripper"),
    position_low=(-2.0, -2.0, 0.0),
    position_high=(2.0, 2.0, 0.08),
    velocity=(2.0, 2.0, np.inf),
    acceleration=(20.0, 20.0, np.inf),
    jerk=(15_000.0, 15_000.0, np.inf),
    workspace_low=(-1.0, -1.0, 0.0),
    workspace_high=(1.0, 1.0, 1.0),
    rate_hz=10.0,
    force_n=50.0,
)
CLEARANCE = SafetyConfig().clearance_m


class Body:
    """A point that the first two joints move by half a metre a radian, before a wall at y = -0.5."""

    reach_m = np.array([0.5, 0.5, 0.0])

    def look(self, q):
        tool = np.array([0.5 * q[0], 0.5 * q[1], 0.5])
        return tool, tool[1] + 0.5, ("tool", "wall")


class Nowhere(Body):
    """One that touches nothing and is in the middle."""

    def look(self, q):
        return np.full(3, 0.5), 1.0, None


def gate(spec=SPEC, body=None, **settings):
    return SafetyGate(SafetyConfig(**settings), spec, body or Body())


def observation(q=(0.0, 0.0, 0.08), age_s=0.0, stamp_s=0.0, **extra):
    q = np.array(q, float)
    return ArmObservation(q, np.zeros(len(q)), {}, stamp_s, 0.0, age_s, **extra)


def chunk(*q, **changes):
    """Waypoints a tenth of a second apart, at rest at each."""
    q = np.array(q, float)
    return dataclasses.replace(Chunk(0.0, 0.1, q, np.zeros_like(q), "plan", SPEC.joints), **changes)


def moving(to, start=(0.0, 0.0, 0.08), stamp_s=0.0, before=None, spec=SPEC):
    """A smooth chunk towards ``to``."""
    before = before or Trajectory.rest(stamp_s, np.array(start, float))
    path = through(np.array([to], float), before, stamp_s, 0.1, 0.05, spec)
    return chunk_of(path, stamp_s, 0.05, "plan", SPEC.joints)


def judge(bad, seen=None, state=ArmState.READY, **settings):
    return gate(**settings).check(bad, seen or observation(), state)


def _copied(one):
    """A gate in the same state: a chunk that it accepts is not followed by the first."""
    return copy.copy(one)


GOOD = chunk((0.02, -0.02, 0.0), (0.03, -0.03, 0.0))


def test_a_good_chunk_passes_with_its_margins():
    decision = judge(GOOD)
    assert decision.accepted
    assert set(decision.margins) == {
        "position", "velocity", "acceleration", "jerk", "tracking", "workspace", "collision",
    }  # fmt: skip
    assert decision.margins["position"] == pytest.approx(2 * 1.97 / 4)
    # From rest to rest over 0.02 rad in 0.1 s: 1.5 times the mean speed, six times way / time^2.
    assert decision.margins["velocity"] == pytest.approx(1 - 0.3 / 2.002)
    assert decision.margins["acceleration"] == pytest.approx(1 - 12 / 20.02)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (chunk((0.1, 0.1)), r"q has shape \(1, 2\), expected \(H, 3\)"),
        (chunk((0.1, np.nan, 0.0)), "q is not finite at elbow"),
        (chunk((0.1, 0.1, 0.0), dq=np.full((1, 3), np.inf)), "dq is not finite at shoulder, elbow"),
        (chunk((0.1, 0.1, 0.0), dq=np.zeros((2, 3))), "expected the same"),
        (chunk((0.1, 0.1, 0.0), dq=np.full((1, 3), 0.1)), "end at rest"),
        (chunk((0.1, 0.1, 0.0), dt_s=0.0), "dt"),
        (chunk((0.1, 0.1, 0.0), dt_s=float("nan")), "dt"),
        (chunk((0.1, 0.1, 0.0), t0_s=float("inf")), "t0"),
        (chunk((0.1, 0.1, 0.0), q=np.zeros((0, 3)), dq=np.zeros((0, 3))), "H > 0"),
        (chunk((0.1, 0.1, 0.0), joints=("shoulder", "elbow")), "joints are shoulder, elbow, expected"),
        (chunk((0.1, 0.1, 0.0), q=np.zeros(3)), r"q has shape \(3,\)"),
        (chunk((0.1, 0.1, 0.0), q=np.zeros((1, 3), complex)), "q is of complex128"),
        (chunk((0.1, 0.1, 0.0), joints=("elbow", "shoulder", "gripper")), "joints are elbow, shoulder"),
        (chunk((0.0, 0.0, 0.0), dt_s=3.1), r"takes 3\.10 s, the limit is 3\.00 s"),
        (chunk((0.0, 0.0, 0.0), t0_s=-0.2), "all of it is past"),
        (chunk((0.0, 0.0, 0.0), t0_s=3.1), r"begins 3\.100 s from now"),
        (chunk((0.1, 0.1, 0.1)), "position leaves the limits of gripper"),
        (chunk((0.1, 0.1, -0.001)), "position leaves the limits of gripper"),
        (chunk((0.1, 0.1, 0.0), (0.1, 0.1, 0.0), t0_s=0.5, dt_s=1e-300), "limits of shoulder, elbow"),
        (chunk((0.0, 0.3, 0.0)), r"velocity exceeds the limit of elbow \(2\.25 times\)"),
        (chunk((0.0, 0.3, 0.0)), "acceleration exceeds the limit of elbow"),
        (chunk((0.0, 0.3, 0.0)), "jerk exceeds the limit of elbow"),
    ],
)  # fmt: skip
def test_a_bad_chunk_is_rejected_for_its_reason(bad, words):
    decision = judge(bad)
    assert not decision.accepted
    with pytest.raises(AssertionError, match=words):
        raise AssertionError("; ".join(decision.reasons))


# What a chunk from rest to rest over d rad in T seconds reaches: d itself, 1.5 d / T, 6 d / T^2, and a
# step of that acceleration within one sample of the drive.
@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("lower position", lambda share: judge(
            chunk((0, -1.0 * share, 0.0), dt_s=1.0), observation((0, -0.9, 0.08)),
            spec=dataclasses.replace(SPEC, position_low=(-2.0, -1.0, 0.0)),
            body=Nowhere())),
        ("gripper", lambda share: judge(chunk((0, 0, 0.08 * share)))),
        ("wide of a waypoint", lambda share: judge(  # the cubic swings out by 4/27 of dq dt
            chunk((0.9, 0, 0.0), (0.9, 0, 0.0), (0.9, 0, 0.0), dt_s=1.0,
                  dq=np.array([[0, 0, 0], [0.675 * share, 0, 0], [0, 0, 0]])),
            observation((0.9, 0, 0.08)),
            spec=dataclasses.replace(SPEC, position_high=(1.0, 2.0, 0.08)))),
        ("moving", lambda share: judge(
            GOOD, dataclasses.replace(observation(), dq=np.array([0, -0.1 * share, 9.0])))),
        ("future", lambda share: judge(chunk((0, 0, 0.0), t0_s=3.0 * share))),
        ("position", lambda share: judge(
            chunk((1.0 * share, 0, 0.0), dt_s=1.0), observation((0.9, 0, 0.08)),
            spec=dataclasses.replace(SPEC, position_high=(1.0, 2.0, 0.08)))),
        ("velocity", lambda share: judge(chunk((share * 2.0 / 1.5, 0, 0.0), dt_s=1.0))),
        ("acceleration", lambda share: judge(chunk((share * 20.0 * 0.04 / 6, 0, 0.0), dt_s=0.2))),
        ("jerk", lambda share: judge(
            chunk((share * 10.0 * 0.04 / 6, 0, 0.0), dt_s=0.2),
            spec=dataclasses.replace(SPEC, jerk=(5000.0, 5000.0, np.inf)))),
        ("collision", lambda share: judge(chunk((0, -share * 2 * (0.5 - CLEARANCE), 0.0), dt_s=2.9))),
        ("force", lambda share: judge(
            GOOD, observation(wrench=np.array([0, 30.0 * share, 40.0 * share, 9, 9, 9])))),
        ("age", lambda share: judge(chunk((0, 0, 0.0), dt_s=1.0), observation(age_s=0.5 * share))),
        ("duration", lambda share: judge(chunk((0, 0, 0.0), dt_s=3.0 * share))),
    ],
)  # fmt: skip
def test_each_limit_holds_just_inside_and_not_just_outside(name, at):
    slack = 1e-3 if name in ("velocity", "acceleration", "jerk") else 0.0
    assert at(1.0 - 1e-6).accepted, at(1.0 - 1e-6).reasons
    assert at(1.0 + slack - 1e-6).accepted or name not in ("velocity", "acceleration", "jerk")
    assert not at(1.0 + slack + 1e-4).accepted


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_tool_keeps_a_clearance_to_each_face_of_its_workspace(axis, side):
    class Slide(Nowhere):
        """The first joint moves the tool along one axis."""

        def look(self, q):
            tool = np.zeros(3)
            tool[axis] = 0.5 * q[0]
            return tool, 1.0, None

    box = dataclasses.replace(SPEC, workspace_low=(-0.4,) * 3, workspace_high=(0.4,) * 3)
    for share, accepted in ((1 - 1e-6, True), (1 + 1e-4, False)):
        to = side * 2 * (0.4 - CLEARANCE) * share
        decision = judge(chunk((to, 0, 0), dt_s=2.9), spec=box, body=Slide())
        assert decision.accepted is accepted
        assert accepted or decision.reasons[0].endswith("in " + "xyz"[axis])


def test_the_order_and_the_end_of_a_chunk_are_told_to_the_microsecond():
    one = gate()
    still = chunk((0, 0, 0.08), dt_s=1.0, t0_s=0.2)
    assert one.check(still, observation(stamp_s=0.2), ArmState.READY).accepted
    seen = observation(stamp_s=0.3)
    for t0_s, broken in ((0.2 - 1e-6, ("order",)), (0.2, ()), (0.2 + 1e-6, ())):
        again = dataclasses.replace(still, t0_s=t0_s)
        assert one.check(again, seen, ArmState.READY).broken == broken
    for end_s, broken in ((0.3 - 1e-6, ("past",)), (0.3, ("past",)), (0.3 + 1e-6, ())):
        again = dataclasses.replace(still, t0_s=0.25, dt_s=end_s - 0.25)
        assert one.check(again, seen, ArmState.READY).broken == broken


def test_the_clock_does_not_run_backwards():
    """Behind what was last accepted, the path that the arm was on is not the one that it is on."""
    one = gate()
    assert one.check(moving((0.1, 0, 0)), observation(), ArmState.READY).accepted
    seen = observation(one.path(observation(stamp_s=0.1)).q[0], stamp_s=0.1)
    assert one.check(
        moving((0.12, 0, 0), stamp_s=0.1, before=one.path(seen)), seen, ArmState.READY
    ).accepted
    back = observation(stamp_s=0.05)
    still = chunk((0.02, 0, 0), t0_s=0.1, dt_s=1.0)
    assert one.check(still, back, ArmState.READY).broken == ("clock",)
    # The same moment seen later is another thing.
    aged = dataclasses.replace(back, age_s=0.05, q=one._following.at(0.05)[0])
    assert "clock" not in one.check(still, aged, ArmState.READY).broken


def test_a_late_observation_is_held_to_what_was_followed_then():
    """Older than what is followed now, it is no less where it was commanded."""
    one = gate()
    fast = moving((0.15, 0, 0))
    assert one.check(fast, observation(), ArmState.READY).accepted
    path = one.path(observation())
    seen = observation(path.at(0.1)[0], stamp_s=0.1)
    assert one.check(
        moving((0.3, 0, 0), stamp_s=0.1, before=path.after(0.1)), seen, ArmState.READY
    ).accepted
    then = path.at(0.06)[0]
    on = chunk_of(one._following, 0.1, 0.05, "plan", SPEC.joints)
    for off, accepted in ((0.099, True), (0.101, False)):
        late = observation(then + [off, 0, 0], stamp_s=0.06, age_s=0.05)
        decision = one.check(on, late, ArmState.READY)
        assert decision.accepted is accepted, decision.reasons


def test_a_step_of_acceleration_where_a_chunk_takes_over_counts_as_jerk():
    """Both chunks keep the limit; what they do to each other does not."""
    spec = dataclasses.replace(SPEC, jerk=(12_000.0, 12_000.0, np.inf))
    q, dq = [[0.05, 0, 0.08], [0.1, 0, 0.08]], [[1.0, 0, 0], [0, 0, 0]]  # 10 rad/s^2, and back
    one = gate(spec)
    assert one.check(chunk(*q, dq=np.array(dq)), observation(), ArmState.READY).accepted
    half = one.path(observation()).at(0.05)
    assert half[2][0] == pytest.approx(10.0)
    seen = observation(half[0], stamp_s=0.05)
    v = half[1][0]
    # From +10 to -drop rad/s^2 within a sample.
    for drop, accepted in ((13.9, True), (14.1, False)):
        brake_s = v / drop
        q = half[0] + [v * brake_s / 2, 0, 0]
        down = Chunk(0.05, brake_s, q[None], np.zeros((1, 3)), "plan", SPEC.joints)
        decision = _copied(one).check(down, seen, ArmState.READY)
        assert decision.accepted is accepted, decision.reasons
        assert accepted or decision.broken == ("jerk",)


def test_what_was_planned_before_a_hold_is_void():
    one = gate()
    assert one.check(moving((0.1, 0, 0)), observation(), ArmState.READY).accepted
    seen = observation((0.05, 0, 0), stamp_s=0.1)
    before = moving((0.2, 0, 0), stamp_s=0.09, before=one.path(observation(stamp_s=0.09)))
    one.hold(seen)
    assert "order" in one.check(before, seen, ArmState.HOLDING).broken


def test_a_hold_on_an_observation_without_numbers_forgets_what_was_followed():
    one = gate()
    assert one.check(moving((0.1, 0, 0)), observation(), ArmState.READY).accepted
    one.hold(observation((np.nan, 0, 0), stamp_s=0.1))
    rest = observation((0.03, 0, 0), stamp_s=0.5)
    fast = dataclasses.replace(rest, dq=np.array([0.5, 0, 0]))
    on = moving((0.05, 0, 0), (0.03, 0, 0), 0.5)
    assert one.check(on, fast, ArmState.HOLDING).broken == ("moving",)
    assert one.check(on, rest, ArmState.HOLDING).accepted


def test_an_arm_that_was_stopped_begins_where_it_stands():
    """It stopped short of the end of its chunk, by less than the tracking tolerance."""
    one = gate()
    assert one.check(moving((0.1, 0, 0)), observation(), ArmState.READY).accepted
    end = one.path(observation()).q[-1]
    stood = observation(end - [0.09, 0, 0], stamp_s=1.0)
    on = chunk(end, t0_s=1.0, dt_s=0.05)  # nothing at all from there; 0.09 rad from here
    assert _copied(one).check(on, stood, ArmState.READY).accepted
    assert not one.check(on, stood, ArmState.STOPPED).accepted
    later = dataclasses.replace(stood, stamp_s=1.1)
    decision = one.check(dataclasses.replace(on, t0_s=1.1), later, ArmState.READY)
    assert set(decision.broken) == {"velocity", "acceleration", "jerk"}


def test_the_arm_must_be_where_it_was_commanded():
    for off, accepted in ((0.0999, True), (0.1001, False)):
        one = gate()
        first = moving((0.1, 0.0, 0.0))
        assert one.check(first, observation(), ArmState.READY).accepted
        meant = Trajectory.rest(0.0, np.array([0, 0, 0.08])).then(first, 0.0).at(0.1)[0]
        seen = observation(meant + [0, off, 0], stamp_s=0.1)
        on = chunk_of(one.path(seen), 0.1, 0.05, "plan", SPEC.joints)
        decision = one.check(on, seen, ArmState.READY)
        assert decision.accepted is accepted, decision.reasons
        assert accepted or "not where it was commanded, at elbow" in decision.reasons[0]


def test_motion_goes_on_from_what_is_followed_and_not_from_a_lagging_arm():
    one = gate()
    assert one.check(moving((0.1, 0.0, 0.0)), observation(), ArmState.READY).accepted
    # The servo trails at 0.06; the next chunk goes on at full speed from 0.1.
    seen = observation((0.06, 0, 0), stamp_s=0.1)
    on = moving((0.25, 0.0, 0.0), stamp_s=0.1, before=one.path(seen))
    assert one.check(on, seen, ArmState.READY).accepted
    one.reset()
    assert not one.check(on, seen, ArmState.READY).accepted


def test_a_rejected_chunk_is_not_taken_for_what_is_followed():
    one = gate()
    assert not one.check(chunk((1.9, 0.0, 0.0)), observation(), ArmState.READY).accepted
    np.testing.assert_array_equal(one.path(observation()).q[-1], observation().q)


def test_a_chunk_that_overtook_a_newer_one_is_refused():
    one = gate()
    newer, older = moving((0.05, 0, 0), stamp_s=0.1), moving((0.05, 0, 0), stamp_s=0.0)
    assert one.check(newer, observation(stamp_s=0.1), ArmState.READY).accepted
    decision = one.check(older, observation(stamp_s=0.1), ArmState.READY)
    assert decision.reasons == ("it is older than the one that is followed, by 0.100 s",)


def test_a_wall_that_is_hit_in_passing_is_seen():
    """At the waypoints there is room; half way between them there is none."""

    class Post:
        reach_m = np.array([0.5, 0.5, 0.0])

        def look(self, q):
            tool = np.array([0.5 * q[0], 0.5 * q[1], 0.5])
            return tool, float(np.linalg.norm(tool[:2] - [0.25, 0.0])) - 0.006, ("tool", "post")

    decision = judge(chunk((1.0, 0.0, 0.0), dt_s=2.9), body=Post())
    assert decision.reasons == ("it brings together tool and post",)


def test_the_workspace_is_that_of_the_tool():
    decision = judge(
        chunk((1.95, 0.0, 0.0), dt_s=2.9),
        spec=dataclasses.replace(SPEC, workspace_high=(0.9, 1, 1)),
    )
    assert len(decision.reasons) == 1
    assert decision.reasons[0].endswith("m in x") and decision.margins["workspace"] < 0


def test_a_tool_that_is_nowhere_is_not_inside_the_workspace():
    class Lost(Body):
        def look(self, q):
            return np.full(3, np.nan), np.nan, None

    decision = judge(GOOD, body=Lost())
    assert not decision.accepted and "workspace" in decision.reasons[0]


def test_an_absurd_gripper_does_not_hide_a_fast_elbow():
    decision = judge(chunk((0.0, 0.5, 1.7e308)))
    assert any("velocity" in reason and "elbow" in reason for reason in decision.reasons)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (ArmState.STOPPED, "emergency stop"),
        (ArmState.DISCONNECTED, "connected"),
        ("stopped", "emergency stop"),  # as it comes in a message
        ("fault", "state is fault"),
        (None, "state is None"),
    ],
)
def test_an_arm_that_may_not_move_is_not_moved(state, words):
    assert words in judge(GOOD, state=state).reasons[0]


@pytest.mark.parametrize("broken", [{"q": np.array([0.0, np.nan, 0])}, {"dq": np.full(3, np.inf)},
                                    {"stamp_s": np.nan}, {"age_s": -np.inf},
                                    {"q": np.zeros(2)}, {"dq": np.zeros((1, 3))},
                                    {"wrench": np.zeros(0)}, {"wrench": np.full(6, np.nan)}])  # fmt: skip
def test_what_is_measured_must_be_numbers(broken):
    assert not judge(GOOD, dataclasses.replace(observation(), **broken)).accepted


def test_the_watchdog_trips_late_and_recovers_later():
    one = gate()
    ages = [0.49, 0.51, 0.3, 0.19, 0.3, float("nan"), -0.1]
    stale = [bool(list(one.watch(observation(age_s=age)))) for age in ages]
    assert stale == [False, True, True, False, False, True, True]


def test_after_a_hold_it_goes_on_from_where_braking_ends():
    one = gate()
    assert one.check(moving((0.1, 0, 0)), observation(), ArmState.READY).accepted
    seen = observation((0.1, 0, 0), stamp_s=0.1)
    held = one.hold(seen)
    later = observation(held.q[-1], stamp_s=1.0)
    assert one.check(moving((0.15, 0, 0), held.q[-1], 1.0), later, ArmState.HOLDING).accepted


wild = st.floats(allow_nan=True, allow_infinity=True)
near = st.floats(-0.2, 0.2)


@given(
    st.lists(st.tuples(*[st.one_of(near, wild)] * 3), min_size=1, max_size=4),
    st.floats(0.02, 1.0),
)
def test_whatever_passes_keeps_every_limit_along_all_of_its_way(rows, dt_s):
    one = gate()
    if one.check(chunk(*rows, dt_s=dt_s), observation(), ArmState.READY).accepted:
        path = one.path(observation())
        q, dq, ddq = path.at(np.linspace(0, path.end_s, 400))
        assert (q >= np.array(SPEC.position_low) - 1e-9)[:, :2].all()
        assert (q <= np.array(SPEC.position_high) + 1e-9)[:, :2].all()
        assert (np.abs(dq) <= np.array(SPEC.velocity) * 1.0011).all()
        assert (np.abs(ddq[:, :2]) <= np.array(SPEC.acceleration[:2]) * 1.0011).all()
        assert (0.5 * q[:, 1] + 0.5 > 0).all()


place = st.tuples(*[st.floats(-0.9, 0.9)] * 2)


@given(st.lists(place, min_size=1, max_size=3), place, st.floats(0.0, 0.3), st.floats(1.0, 5.0))
def test_nothing_is_come_to_between_two_looks(targets, centre, radius, reach):
    """A round post anywhere: what passes keeps half the clearance to it everywhere, and what keeps all of
    it is let through, however far the arm is thought to reach."""

    class Post:
        reach_m = np.array([0.5 * reach, 0.5 * reach, 0.0])

        def look(self, q):
            tool = np.array([0.5 * q[0], 0.5 * q[1], 0.5])
            return tool, float(np.linalg.norm(tool[:2] - centre)) - radius, ("tool", "post")

    slow = chunk(*[(*target, 0.0) for target in targets], dt_s=3.0 / len(targets))
    decision = judge(slow, body=Post())
    path = Trajectory.rest(0.0, observation().q).then(slow, 0.0)
    q = path.at(np.linspace(0, 3, 1000))[0]
    nearest = (np.linalg.norm(0.5 * q[:, :2] - centre, axis=1) - radius).min()
    if decision.accepted:
        assert nearest >= CLEARANCE / 2 - 1e-9
    elif nearest >= CLEARANCE:
        assert "collision" not in decision.broken


@given(st.floats(0.0, 0.3), st.floats(-0.02, 0.1), st.floats(0.1, 0.5))
def test_what_passes_keeps_every_limit_where_chunks_meet(now_s, to, dt_s):
    """Differences of positions a sample of the drive apart, through the splice."""
    spec = dataclasses.replace(SPEC, jerk=(4_000.0, 4_000.0, np.inf))
    one = gate(spec)
    assert one.check(chunk((0.05, 0.0, 0.0), dt_s=0.25), observation(), ArmState.READY).accepted
    seen = observation(one.path(observation()).at(now_s)[0], stamp_s=now_s)
    second = chunk((to, 0.0, 0.0), t0_s=now_s, dt_s=dt_s)
    if one.check(second, seen, ArmState.READY).accepted:
        q = one._following.at(np.arange(0.0, now_s + dt_s + 0.01, 1 / spec.servo_hz))[0][:, :2]
        for order, limit in ((1, spec.velocity), (2, spec.acceleration), (3, spec.jerk)):
            change = np.diff(q, order, axis=0) * spec.servo_hz**order
            assert (np.abs(change) <= np.array(limit[:2]) * 1.0011 + 1e-6).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stale_periods": 2.0, "fresh_periods": 2.0}, "fresh_periods"),
        ({"clearance_m": 0.0}, "clearance_m"),
        ({"tracking_tolerance": -1.0}, "tracking_tolerance"),
        ({"max_duration_s": 0.0}, "max_duration_s"),
        ({"rest_speed": 0.0}, "rest_speed"),
    ],
)
def test_settings_that_guard_nothing_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        SafetyConfig(**settings)


def test_a_chunk_that_the_arm_did_not_take_is_not_followed():
    judging, seen = gate(), observation()
    assert judging.check(moving((0.05, 0.0, 0.08)), seen, ArmState.READY).accepted
    judging.withdraw()
    later = observation(stamp_s=0.5)
    assert judging.path(later).at(0.5)[0][0] == 0.0
    chunk_again = moving((0.05, 0.0, 0.08), stamp_s=0.5)
    assert judging.check(chunk_again, later, ArmState.READY).accepted
