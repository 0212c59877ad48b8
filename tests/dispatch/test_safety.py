"""The gate: what it lets through, and that it says why it does not."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robowm.dispatch.arm import ArmObservation, ArmSpec, ArmState, Chunk
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.errors import UserError

SPEC = ArmSpec(
    joints=("shoulder", "elbow", "gripper"),
    position_low=(-2.0, -2.0, 0.0),
    position_high=(2.0, 2.0, 0.08),
    velocity=(2.0, 2.0, np.inf),
    workspace_low=(-1.0, -1.0, 0.0),
    workspace_high=(1.0, 1.0, 1.0),
    rate_hz=10.0,
)


def tool_position(q):
    return np.array([0.5 * q[0], 0.5 * q[1], 0.5])


def gate(**settings):
    return SafetyGate(SafetyConfig(**settings), SPEC, tool_position)


def observation(q=(0.0, 0.0, 0.08), age_s=0.0):
    q = np.array(q, float)
    return ArmObservation(q, np.zeros(len(q)), {}, 0.0, 0.0, age_s)


def chunk(*q, **changes):
    q = np.array(q, float)
    return dataclasses.replace(Chunk(0.0, 0.1, q, np.zeros_like(q), "plan"), **changes)


GOOD = chunk((0.1, -0.1, 0.0), (0.25, -0.2, 0.0))


def test_a_good_chunk_passes_with_its_margins():
    decision = gate().check(GOOD, observation(), ArmState.READY)
    assert decision.accepted
    assert set(decision.margins) == {"position", "velocity", "start", "workspace"}
    assert decision.margins["velocity"] == pytest.approx(1 - 1.5 / 2.002)
    assert decision.margins["position"] == pytest.approx(2 * 1.75 / 4)
    assert decision.margins["workspace"] == pytest.approx(2 * (1 - 0.125) / 2)


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
        (chunk((0.1, 0.1, 0.1)), "position leaves the limits of gripper"),
        (chunk((0.1, 0.25, 0.0)), r"velocity exceeds the limit of elbow \(1\.25 times\)"),
        (chunk((0.5, 0.0, 0.0)), "too far from where the arm is, at shoulder"),
        (chunk((0.1, 0.1, 0.0), q=np.zeros((0, 3)), dq=np.zeros((0, 3))), "H > 0"),
    ],
)
def test_a_bad_chunk_is_rejected_for_its_reason(bad, words):
    decision = gate().check(bad, observation(), ArmState.READY)
    assert not decision.accepted
    with pytest.raises(AssertionError, match=words):
        raise AssertionError("; ".join(decision.reasons))


def test_speed_counts_from_the_last_command_and_not_from_a_lagging_arm():
    one = gate()
    assert one.check(chunk((0.2, 0.0, 0.0)), observation(), ArmState.READY).accepted
    # The servo trails at 0.12: seen from there 0.4 is too fast, from the command it is not.
    assert one.check(chunk((0.4, 0.0, 0.0)), observation((0.12, 0, 0)), ArmState.READY).accepted
    one.reset()
    assert not one.check(chunk((0.4, 0.0, 0.0)), observation((0.12, 0, 0)), ArmState.READY).accepted


def test_a_rejected_chunk_is_not_taken_for_the_last_command():
    one = gate()
    assert not one.check(chunk((0.3, 0.0, 0.0)), observation(), ArmState.READY).accepted
    decision = one.check(chunk((0.35, 0.0, 0.0)), observation(), ArmState.READY)
    assert any("velocity" in reason for reason in decision.reasons)


def test_the_workspace_is_that_of_the_tool():
    far = observation((1.9, 0.0, 0.08))
    spec = dataclasses.replace(SPEC, workspace_high=(0.9, 1.0, 1.0))
    one = SafetyGate(SafetyConfig(), spec, tool_position)
    decision = one.check(chunk((1.9, 0.0, 0.0)), far, ArmState.READY)
    assert len(decision.reasons) == 1
    assert decision.reasons[0].endswith("m in x")
    assert decision.margins["workspace"] < 0


def test_a_tool_that_is_nowhere_is_not_inside_the_workspace():
    one = SafetyGate(SafetyConfig(), SPEC, lambda q: np.full(3, np.nan))
    decision = one.check(GOOD, observation(), ArmState.READY)
    assert len(decision.reasons) == 1 and "workspace" in decision.reasons[0]


def test_an_absurd_gripper_does_not_hide_a_fast_elbow():
    decision = gate().check(chunk((0.0, 0.25, 1.7e308)), observation(), ArmState.READY)
    assert any("velocity" in reason and "elbow" in reason for reason in decision.reasons)


def test_every_broken_limit_is_named():
    decision = gate().check(chunk((3.0, 0.0, 0.0)), observation(), ArmState.READY)
    assert len(decision.reasons) == 4


@pytest.mark.parametrize(
    ("state", "words"), [(ArmState.STOPPED, "emergency stop"), (ArmState.DISCONNECTED, "connected")]
)
def test_an_arm_that_may_not_move_is_not_moved(state, words):
    decision = gate().check(GOOD, observation(), state)
    assert words in decision.reasons[0]


def test_the_watchdog_trips_late_and_recovers_later():
    one = gate()
    ages = [0.49, 0.51, 0.3, 0.19, 0.3, float("nan")]
    accepted = [
        one.check(chunk((0.0, 0.0, 0.08)), observation(age_s=age), ArmState.READY).accepted
        for age in ages
    ]
    assert accepted == [True, False, False, True, True, False]


@given(
    st.lists(
        st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=3, max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_passes_is_within_every_limit(rows):
    q = np.array(rows)
    decision = gate().check(chunk(*rows), observation(), ArmState.READY)
    if decision.accepted:
        assert np.all(q >= np.array(SPEC.position_low)) and np.all(
            q <= np.array(SPEC.position_high)
        )
        steps = np.diff(q, axis=0, prepend=observation().q[None])
        assert np.all(np.abs(steps) <= np.array(SPEC.velocity) * 0.1 * 1.001 + 1e-12)


def test_a_watchdog_without_hysteresis_is_refused():
    with pytest.raises(UserError, match="fresh_periods"):
        SafetyConfig(stale_periods=2.0, fresh_periods=2.0)
