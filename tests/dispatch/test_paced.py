"""A simulated arm in real time, and the bench that a simulated one stands on."""

import time

import numpy as np
import pytest

from robowm.dispatch.arm import ArmState
from robowm.dispatch.arms.paced import PacedArm
from robowm.dispatch.arms.sim import LimitsConfig, SimArm, SimArmConfig
from robowm.dispatch.bench import client as client_module
from robowm.dispatch.bench.client import Bench
from robowm.dispatch.trajectory import Trajectory, chunk_of, through
from robowm.errors import UserError
from tests.dispatch import toy
from tests.dispatch.live import dispatching, until
from tests.evaluation.toys import PointEnv


@pytest.fixture
def arm():
    env = toy.PointArmEnv()
    limits = LimitsConfig(workspace_low=(-1, -1, 0), workspace_high=(1, 1, 1))
    made = PacedArm(SimArm(SimArmConfig(limits=limits), env, toy.PointPort(env), seed=3))
    made.connect()
    yield made
    made.close()


def forward(arm, steps=3):
    seen = arm.observe()
    targets = seen.q + np.outer(np.arange(1, steps + 1), [0.02, 0, 0])
    rest = Trajectory.rest(seen.stamp_s, seen.q)
    path = through(targets, rest, seen.stamp_s, 0.1, 0.05, arm.spec)
    return chunk_of(path, seen.stamp_s, 0.05, "plan", arm.spec.joints)


def test_the_world_waits_for_the_first_chunk_and_for_nothing_after_it(arm):
    arm.wait(0.25)
    seen = arm.observe()
    assert seen.stamp_s > 0.15 and seen.age_s >= 0 and arm.arm.env.steps == 0
    begin_s = seen.stamp_s
    assert arm.send(forward(arm)).accepted
    time.sleep(0.4)
    later = arm.observe()
    assert arm.arm.env.steps == pytest.approx((later.stamp_s - begin_s) / 0.1, abs=1.01)
    assert arm.arm.env.steps >= 3
    assert later.q[0] - seen.q[0] == pytest.approx(0.06, abs=0.01)


def test_it_stops_and_goes_on(arm):
    arm.send(forward(arm, 10))
    arm.estop()
    assert arm.state is ArmState.STOPPED and not arm.send(forward(arm)).accepted
    steps = arm.arm.env.steps
    time.sleep(0.25)
    arm.observe()
    assert arm.arm.env.steps == steps  # the simulation stands still with the arm
    arm.reset()
    arm.observe()
    assert arm.arm.env.steps <= steps + 1  # and does not make up for it
    assert arm.state is ArmState.HOLDING and arm.send(forward(arm)).accepted


def test_a_dispatcher_drives_it_to_the_goal(arm):
    with dispatching(arm=arm):
        until(lambda: arm.over)
    assert arm.arm.env.position[0] == pytest.approx(PointEnv.goal_m, abs=0.01)


def test_a_bench_lays_out_an_episode_and_judges_it(monkeypatch):
    from tests.dispatch.bench import served

    with served() as (client, _):
        bench = Bench(client.link)
        for _ in range(2):  # the same again is another
            bench.begin(seed=5, split="test")
            until(lambda: bench.goal is not None)
            assert not bench.over and bench.time_limit_s > 0
            assert bench.finish()["success"] == 0.0
            until(lambda: bench.over)
        monkeypatch.setattr(client_module, "LAID_S", 0.5)
        with pytest.raises(UserError, match="was not laid out"):
            bench.begin(seed=6, split="nowhere")


def test_an_arm_without_a_bench_is_one_sentence(monkeypatch):
    from robowm.dispatch.wire.local import Bus, LocalLink

    monkeypatch.setattr(client_module, "FOUND_S", 0.1)
    link = LocalLink(bus=Bus())
    link.open()
    with pytest.raises(UserError, match="nobody lays episodes out"):
        Bench(link).begin(seed=0, split="test")
    link.close()
