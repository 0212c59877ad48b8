"""The loop: what is seen, meant, judged and done, and what is kept of it."""

import json

import numpy as np
import pytest

from robowm.dispatch import loop
from robowm.dispatch.arm import ArmState
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.dispatch.sim import SimArm, SimArmConfig
from robowm.errors import UserError
from tests.dispatch import toy


def run(action=(1.0, 0.5, 1.0), workspace_high=(1.0, 1.0, 1.0), on_tick=None, **settings):
    env, _, agent, spec = toy.make(action=action)
    config = SimArmConfig(workspace_low=(-1, -1, 0), workspace_high=workspace_high)
    arm = SimArm(config, env, toy.PointPort(env), seed=3)
    arm.connect()
    gate = SafetyGate(SafetyConfig(), arm.spec, arm.port.tool_position)
    episode = loop.run(
        arm,
        agent,
        gate,
        arm.port.targets,
        spec.action.switch,
        over=lambda: arm.timestep.last(),
        config=loop.LoopConfig(**settings),
        on_tick=on_tick and (lambda tick: on_tick(tick, arm)),
    )
    return episode, arm, agent


def test_an_episode_runs_to_its_end_and_does_what_was_planned():
    episode, arm, agent = run()
    assert episode.ended == "over" and len(episode.ticks) == 20
    moved = arm.env.position - episode.ticks[0].observation.q[:2]
    np.testing.assert_allclose(moved, 20 * toy.STEP_M * np.array([1.0, 0.5]), atol=1e-6)
    assert agent.actor.calls == 20


def test_what_the_gate_rejects_is_not_sent_and_ends_the_episode():
    start = run(max_steps=1)[0].ticks[0].observation.q[0]
    episode, arm, agent = run(workspace_high=(start + 0.05, 1.0, 1.0), max_rejections=3)
    assert episode.ended == "rejected"
    assert [tick.receipt.accepted for tick in episode.ticks] == [True, True, False, False, False]
    assert arm.env.position[0] < start + 0.05  # the third step would have crossed
    assert arm.state is ArmState.HOLDING
    assert episode.final.stamp_s == pytest.approx(0.5)  # while it held, the world went on
    refused = episode.ticks[-1]
    assert "workspace" in refused.receipt.reason and refused.receipt.sent == 0
    np.testing.assert_array_equal(refused.executed, [0, 0, 1])  # still, the gripper as it was
    np.testing.assert_array_equal(agent._previous.numpy()[0], [0, 0, 1])  # and the belief knows


def test_an_emergency_stop_ends_the_episode():
    def stop(tick, arm):
        if tick.index == 2:
            arm.estop()

    episode = run(on_tick=stop)[0]
    assert episode.ended == "stopped" and len(episode.ticks) == 3


def test_a_limited_episode_ends_there():
    episode = run(max_steps=4)[0]
    assert episode.ended == "steps" and len(episode.ticks) == 4


def test_the_log_is_json_with_plans_decisions_and_receipts():
    log = json.loads(json.dumps(run(max_steps=2)[0].to_dict(), allow_nan=False))
    assert log["ended"] == "steps" and log["rejected"] == 0
    one = log["log"][1]
    assert one["plan"]["id"] == one["chunk"]["plan_id"] == "plan-00001"
    assert one["plan"]["success"] == 0.75 and one["plan"]["trusted_steps"] == 3
    assert one["decision"]["accepted"] and one["decision"]["margins"]["workspace"] > 0
    assert one["receipt"] == {"accepted": True, "reason": "", "sent": 1}
    assert one["stamp_s"] == pytest.approx(0.1)


def test_targets_that_are_no_numbers_are_rejected_and_logged(monkeypatch):
    monkeypatch.setattr(toy.PointPort, "targets", lambda self, action: np.full(3, np.nan))
    log = json.dumps(run(max_rejections=1)[0].to_dict(), allow_nan=False)
    assert "q is not finite at slide_x" in json.loads(log)["log"][0]["receipt"]["reason"]


def test_a_loop_that_cannot_run_is_refused():
    with pytest.raises(UserError, match="max_rejections"):
        loop.LoopConfig(max_rejections=0)
