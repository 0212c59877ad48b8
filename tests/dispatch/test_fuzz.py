"""The gate against the fuzzer and its oracle: nothing unsafe passes, and the oracle has teeth."""

import json

import numpy as np
import pytest

import robowm_envs
from robowm.dispatch import fuzz
from robowm.dispatch.arms.sim import SimArm, SimArmConfig
from robowm.dispatch.fuzz.line import plain
from robowm.dispatch.fuzz.recording import Recording, demonstrate
from robowm.dispatch.safety import SafetyGate
from robowm_envs.expert import Expert
from robowm_envs.joints import JointPort
from robowm_envs.oracle import Oracle
from robowm_envs.twin import Twin


@pytest.fixture(scope="module")
def twin():
    return Twin()


@pytest.fixture(scope="module")
def recordings(twin):
    return [record(task, twin) for task in ("grasp_rotate_place", "reorient")]


def record(task, twin):
    env = robowm_envs.make(task, observation="state", split="test")
    arm = SimArm(SimArmConfig(), env, JointPort(env), seed=3)
    arm.connect()
    names = env.task.actions.names
    commander = twin.commander(names, arm.spec.position_low, arm.spec.position_high)
    switches = (False,) * (len(names) - 1) + (True,)
    episode = demonstrate(arm, Expert(env), twin, commander, switches)
    env.close()
    return Recording.of(task, arm.spec, episode.ticks[:30])


def test_nothing_unsafe_passes_and_what_is_good_does(recordings, twin):
    report = fuzz.run(recordings, lambda: twin, Oracle, chunks=2500, seed=0)
    assert report.trouble == []
    total, expert = report.total, report.counts["expert"]
    assert total.sent >= 2500 and total.unsafe == 0
    assert expert.passed == expert.sent > 0
    assert {which.__name__ for which in fuzz.CLASSES} <= set(report.counts)
    own = total.passed - expert.passed
    assert own > 0.1 * (total.sent - expert.sent)
    # Every check is what refuses something: none is only there behind another.
    assert set(total.refused) >= {
        "state", "age", "joints", "shape", "finite", "measured", "times", "end", "duration", "order",
        "clock", "past", "future", "moving", "position", "velocity", "acceleration", "jerk", "tracking",
        "force", "workspace", "collision",
    }  # fmt: skip


def test_the_same_seed_sends_the_same_chunks(recordings, twin):
    one, two, other = (
        fuzz.run(recordings[:1], lambda: twin, Oracle, chunks=150, seed=seed) for seed in (1, 1, 2)
    )
    assert plain(one.counts) == plain(two.counts) != plain(other.counts)


def blind_to(check):
    """A gate without one of its checks."""

    class Blind(SafetyGate):
        def watch(self, observation):
            reasons = list(super().watch(observation))
            return iter([] if check == "age" else reasons)

        def _standing(self, state):
            return (found for found in SafetyGate._standing(self, state) if found[0] != check)

        def _malformed(self, chunk, observation):
            found = SafetyGate._malformed(self, chunk, observation)
            return (one for one in found if one[0] != check)

        def _limits_kept(self, *arguments):
            found = SafetyGate._limits_kept(self, *arguments)
            return (one for one in found if one[0] != check)

        def _places(self, path, speed):
            if check == "workspace":
                self._workspace = np.array([[-9.0] * 3, [9.0] * 3])
            if check == "collision":
                self.body = Ghost(self.body)
            return SafetyGate._places(self, path, speed)

    return Blind


class Ghost:
    """A body that touches nothing."""

    def __init__(self, body):
        self._body, self.reach_m = getattr(body, "_body", body), body.reach_m

    def look(self, q):
        return self._body.look(q)[0], 1.0, None


@pytest.mark.parametrize(
    "check",
    ["state", "age", "joints", "end", "duration", "order", "clock", "future", "moving", "position",
     "velocity", "acceleration", "jerk", "tracking", "force", "workspace", "collision"],
)  # fmt: skip
def test_a_gate_without_a_check_is_found_out(check, recordings, twin):
    if check == "jerk":  # elsewhere acceleration is at its limit before
        recordings = [recording.slowed() for recording in recordings]
    for seed in range(40):
        report = fuzz.run(
            recordings, lambda: twin, Oracle, chunks=100, seed=seed, make_gate=blind_to(check)
        )
        if any(check in trouble["why"] for trouble in report.trouble):
            json.dumps(report.trouble, allow_nan=False)  # what led to it can be written down
            return
    raise AssertionError(f"nobody misses the check of {check}")
