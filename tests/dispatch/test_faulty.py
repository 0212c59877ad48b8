"""Faults: each by itself, the same for the same seed, none that undoes a stop."""

import dataclasses
import itertools

import numpy as np
import pytest

from robowm.dispatch.arm import ArmObservation, ArmState, Chunk, Receipt
from robowm.dispatch.arms.faulty import FaultsConfig, FaultyArm
from robowm.errors import UserError
from tests.dispatch.test_arms import sim_of_a_point


class Told:
    """An arm that writes down what it is sent, and when."""

    spec, state = None, ArmState.READY

    def __init__(self):
        self.now_s, self.chunks = 0.0, []

    def connect(self): ...

    def close(self): ...

    def observe(self):
        q = np.full(2, self.now_s)
        arrays = {"proprio": np.ones(2, np.float32), "image_front": np.ones((2, 2, 3), np.uint8)}
        return ArmObservation(q, q, arrays, self.now_s, self.now_s, 0.0)

    def send(self, chunk):
        if self.state is ArmState.STOPPED:
            return Receipt(False, "stopped")
        self.chunks.append((chunk.plan_id, round(self.now_s, 6)))
        return Receipt(True, sent=1)

    def wait(self, stamp_s):
        self.now_s = max(self.now_s, stamp_s)

    def hold(self): ...

    def estop(self):
        self.state = ArmState.STOPPED

    def reset(self):
        self.state = ArmState.HOLDING


def chunk(name):
    return Chunk(0.0, 0.1, np.zeros((1, 2)), np.zeros((1, 2)), str(name), ("a", "b"))


def driven(count=50, **faults):
    """What arrived of as many chunks, a tenth of a second apart."""
    arm = FaultyArm(FaultsConfig(**faults), Told())
    for n in range(count):
        assert arm.send(chunk(n)).accepted
        arm.wait(arm.arm.now_s + 0.1)
    return arm


def test_without_faults_nothing_changes():
    arm = driven()
    assert arm.arm.chunks == [(str(n), round(0.1 * n, 6)) for n in range(50)]
    assert not sum(arm.counts.values())


def test_chunks_are_dropped():
    arm = driven(drop=0.3)
    assert 50 - len(arm.arm.chunks) == arm.counts["drop"] > 5
    assert [int(name) for name, _ in arm.arm.chunks] == sorted(int(n) for n, _ in arm.arm.chunks)


def test_chunks_come_late_but_not_later_than_said():
    arm = driven(delay=0.5, delay_s=0.25)
    late = [when - 0.1 * int(name) for name, when in arm.arm.chunks]
    assert 10 < sum(s > 1e-9 for s in late) <= arm.counts["delay"]
    assert min(late) > -1e-9 and max(late) <= 0.25 + 1e-9


def test_chunks_come_twice():
    arm = driven(duplicate=0.3, delay_s=0.05)
    assert len(arm.arm.chunks) == 50 + arm.counts["duplicate"] > 55


def test_chunks_change_places():
    arm = driven(51, reorder=0.3)
    names = [int(name) for name, _ in arm.arm.chunks]
    swaps = sum(a == b + 1 for a, b in itertools.pairwise(names))
    assert swaps >= 5 and len(set(names)) == len(names)


def test_a_frozen_observation_gets_older_and_thaws():
    arm = FaultyArm(FaultsConfig(freeze=1.0, freeze_s=0.35), Told())
    first = arm.observe()
    for n in range(1, 4):
        arm.wait(0.1 * n)
        seen = arm.observe()
        assert seen.stamp_s == first.stamp_s and seen.age_s == pytest.approx(0.1 * n)
    arm.config = dataclasses.replace(arm.config, freeze=0.0)
    arm.wait(0.4)
    assert arm.observe().stamp_s == pytest.approx(0.4) and arm.observe().age_s == 0


def test_numbers_are_corrupted_in_a_copy():
    arm = FaultyArm(FaultsConfig(corrupt=1.0), Told())
    seen = arm.observe()
    assert np.isnan(seen.q).sum() == 1 and np.isnan(seen.arrays["proprio"]).all()
    assert (seen.arrays["image_front"] == 1).all()
    assert np.isfinite(arm.arm.observe().q).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_has_the_same_faults(seed):
    faults = dict(drop=0.2, delay=0.2, duplicate=0.2, reorder=0.2, seed=seed)
    assert driven(**faults).arm.chunks == driven(**faults).arm.chunks
    assert driven(**faults).arm.chunks != driven(**faults | {"seed": 2}).arm.chunks


@pytest.mark.parametrize("what", ["hold", "estop"])
def test_what_is_late_does_not_undo_a_stop(what):
    arm = FaultyArm(FaultsConfig(delay=1.0, duplicate=1.0), Told())
    arm.send(chunk(0))
    getattr(arm, what)()
    arm.wait(1.0)
    assert arm.arm.chunks == []


def test_a_simulated_arm_ends_where_it_was_told_though_chunks_are_late():
    arm = FaultyArm(FaultsConfig(delay=1.0, delay_s=0.05), sim_of_a_point())
    arm.connect()
    assert arm.timestep.first()  # what only a simulated arm has
    q = arm.observe().q
    target = q + [0.05, 0.0, 0.0]
    told = Chunk(0.0, 0.5, target[None], np.zeros((1, 3)), "p", arm.spec.joints)
    assert arm.send(told).accepted
    arm.wait(0.7)
    np.testing.assert_allclose(arm.observe().q, target, atol=1e-6)


@pytest.mark.parametrize("field", ["drop", "corrupt", "delay_s", "freeze_s"])
def test_faults_that_make_no_sense_are_refused(field):
    with pytest.raises(UserError, match=field):
        FaultsConfig(**{field: -1.0})
