"""The gate: what it lets through at each limit, and that it says why it does not."""

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
        (chunk((0.1, 0.1, 0.0), joints=("elbow", "shoulder", "gripper")), "joints are elbow, shoulder"),
        (chunk((0.0, 0.0, 0.0), dt_s=3.1), r"takes 3\.10 s, the limit is 3\.00 s"),
        (chunk((0.0, 0.0, 0.0), t0_s=-0.2), "all of it is past"),
        (chunk((0.0, 0.0, 0.0), t0_s=3.1), r"begins 3\.100 s from now"),
        (chunk((0.1, 0.1, 0.1)), "position leaves the limits of gripper"),
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
        ("position", lambda share: judge(
            chunk((1.0 * share, 0, 0.0), dt_s=1.0), observation((0.9, 0, 0.08)),
            spec=dataclasses.replace(SPEC, position_high=(1.0, 2.0, 0.08)))),
        ("velocity", lambda share: judge(chunk((share * 2.0 / 1.5, 0, 0.0), dt_s=1.0))),
        ("acceleration", lambda share: judge(chunk((share * 20.0 * 0.04 / 6, 0, 0.0), dt_s=0.2))),
        ("jerk", lambda share: judge(
            chunk((share * 10.0 * 0.04 / 6, 0, 0.0), dt_s=0.2),
            spec=dataclasses.replace(SPEC, jerk=(5000.0, 5000.0, np.inf)))),
        ("workspace", lambda share: judge(
            chunk((share * 2 * (1.0 - CLEARANCE), 0, 0.0), dt_s=2.9),
            spec=dataclasses.replace(SPEC, position_high=(3.0, 3.0, 0.08)))),
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
    ("state", "words"), [(ArmState.STOPPED, "emergency stop"), (ArmState.DISCONNECTED, "connected")]
)
def test_an_arm_that_may_not_move_is_not_moved(state, words):
    assert words in judge(GOOD, state=state).reasons[0]


@pytest.mark.parametrize("broken", [{"q": np.array([0.0, np.nan, 0])}, {"dq": np.full(3, np.inf)},
                                    {"stamp_s": np.nan}, {"age_s": -np.inf}])  # fmt: skip
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


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stale_periods": 2.0, "fresh_periods": 2.0}, "fresh_periods"),
        ({"clearance_m": 0.0}, "clearance_m"),
        ({"tracking_tolerance": -1.0}, "tracking_tolerance"),
        ({"max_duration_s": 0.0}, "max_duration_s"),
    ],
)
def test_settings_that_guard_nothing_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        SafetyConfig(**settings)
