"""Faults of a driver, by the clock of the test."""

import numpy as np
import pytest

from robowm.dispatch.bench.faults import Faults
from robowm.dispatch.wire.messages import JointState


def state(stamp_s):
    return JointState(stamp_s, ("a",), np.array([stamp_s]), np.zeros(1))


@pytest.fixture
def faults():
    made = Faults()
    made.spoil(state(1.0), 1.0)
    return made


def test_without_faults_states_pass(faults):
    assert faults.spoil(passing := state(2.0), 2.0) is passing


def test_each_lasts_as_long_as_it_was_asked_to(faults):
    faults.switch({"freeze_s": 1.0, "dead_s": 2}, 2.0)
    assert faults.spoil(state(2.9), 2.9).stamp_s == 1.0
    assert faults.spoil(state(3.1), 3.1).stamp_s == 3.1
    assert faults.has("dead_s", 3.9) and not faults.has("dead_s", 4.0)


def test_zero_ends_one(faults):
    faults.switch({"nan_s": float("inf")}, 2.0)
    assert np.isnan(faults.spoil(state(1e9), 1e9).position).all()
    faults.switch({"nan_s": 0.0}, 1e9)
    assert np.isfinite(faults.spoil(state(1e9), 1e9).position).all()


def test_what_sticks_goes_on_in_time(faults):
    faults.switch({"stuck_s": 1.0}, 2.0)
    stuck = faults.spoil(state(2.5), 2.5)
    assert stuck.stamp_s == 2.5 and stuck.position == [1.0]


def test_jumps_add_up(faults):
    faults.switch({"clock_jump_s": 5.0}, 2.0)
    faults.switch({"clock_jump_s": -2.0}, 2.0)
    assert faults.clock_jump_s == 3.0


@pytest.mark.parametrize(
    "asked",
    [None, [], {}, {"fire_s": 1.0}, {"dead_s": "1"}, {"dead_s": None}, {"nan_s": float("nan")}, {"clock_jump_s": float("inf"), "dead_s": 1.0}],
)  # fmt: skip
def test_what_is_no_fault_switches_nothing(faults, asked):
    with pytest.raises(ValueError, match=r"fault|clock"):
        faults.switch(asked, 2.0)
    assert not faults.has("dead_s", 2.0) and faults.clock_jump_s == 0.0
