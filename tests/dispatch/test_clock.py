"""The clock that stamps are on, as it looks from here."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robowm.dispatch.arms.clock import StampClock


def told(clock, stamps, ahead_s=0.0, delay_s=0.001):
    """Messages of a clock that is so far ahead of ours, each so long under way."""
    delays = np.broadcast_to(delay_s, np.shape(stamps))
    return [clock.hear(s, s - ahead_s + d) for s, d in zip(map(float, stamps), delays, strict=True)]


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.lists(st.floats(0.0, 0.15), min_size=20, max_size=50))
def test_ages_need_no_common_clock(ahead_s, delays):
    clock, stamps = StampClock(), 1e6 + 0.01 * np.arange(len(delays))
    told(clock, stamps, ahead_s, np.array(delays))
    assert clock.jumps == 0 and clock.steady
    now_s = stamps[-1] - ahead_s + 0.2
    assert clock.age(stamps[-1], now_s) == pytest.approx(0.2 - min(delays), abs=1e-6)


def test_what_is_old_or_comes_again_is_left_aside():
    assert told(StampClock(), [1.0, 1.01, 1.01, 1.005, 1.02]) == [True, True, False, False, True]


@pytest.mark.parametrize("by_s", [-100.0, -0.5, 0.5, 100.0])
def test_a_clock_that_is_set_has_no_age_until_it_is_steady(by_s):
    clock = StampClock()
    told(clock, 0.01 * np.arange(100))
    assert clock.steady and math.isfinite(clock.age(0.99, 1.0))
    told(clock, 1.0 + by_s + 0.01 * np.arange(4), ahead_s=by_s)
    assert clock.jumps == 1 and clock.age(1.0, 1.05) == math.inf
    told(clock, 1.04 + by_s + 0.01 * np.arange(10), ahead_s=by_s)
    assert clock.jumps == 1 and clock.steady
    assert clock.age(1.13 + by_s, 1.14) == pytest.approx(0.009, abs=1e-6)


def test_a_late_burst_is_no_jump():
    clock = StampClock()
    told(clock, 0.01 * np.arange(100))
    told(clock, 1.0 + 0.01 * np.arange(30), delay_s=2.0 - 0.01 * np.arange(30))
    told(clock, 1.3 + 0.01 * np.arange(30))
    assert clock.jumps == 0


def test_a_drift_is_followed():
    clock, t = StampClock(window_s=1.0), 0.01 * np.arange(2000)
    for ours in t:
        clock.hear(float(ours * 0.999), float(ours))
    assert clock.age(float(t[-1] * 0.999), float(t[-1])) < 0.002
