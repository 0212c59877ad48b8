"""The loop: what is seen, meant, judged and done, and what is kept of it."""

import json

import numpy as np
import pytest

from robowm.dispatch import loop
from robowm.dispatch.arm import ArmState
from robowm.dispatch.arms.sim import LimitsConfig, SimArm, SimArmConfig
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.errors import UserError
from tests.dispatch import toy


def run(action=(1.0, 0.5, 1.0), workspace_high=(1.0, 1.0, 1.0), on_tick=None, **settings):
    env, _, agent, spec = toy.make(action=action)
    limits = LimitsConfig(workspace_low=(-1, -1, 0), workspace_high=workspace_high)
    arm = SimArm(SimArmConfig(limits=limits), env, toy.PointPort(env), seed=3)
    arm.connect()
    gate = SafetyGate(SafetyConfig(), arm.spec, toy.PointBody())
    episode = loop.run(
        arm,
        agent,
        gate,
        toy.PointCommander(),
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
    episode, arm, agent = run(workspace_high=(start + 0.06, 1.0, 1.0), max_rejections=3)
    assert episode.ended == "rejected"
    accepted = [tick.receipt.accepted for tick in episode.ticks]
    assert accepted[:2] == [True, True] and accepted[-3:] == [False] * 3
    assert arm.env.position[0] < start + 0.06  # as it would have gone on
    assert arm.state is ArmState.HOLDING
    assert episode.final.stamp_s == pytest.approx(0.1 * (len(accepted) - 1))  # the world went on
    refused = episode.ticks[-1]
    assert "workspace" in refused.receipt.reason and refused.receipt.sent == 0
    np.testing.assert_array_equal(refused.executed, [0, 0, 1])  # still, the gripper as it was
    np.testing.assert_array_equal(agent._previous.numpy()[0], [0, 0, 1])  # and the belief knows


def test_an_action_that_comes_later_is_chosen_for_where_the_arm_will_be():
    """With a step of lead the first action is done in the second step, and the agent knows it."""
    episode, arm, _ = run(lead_steps=1)
    assert episode.ended == "over" and all(tick.receipt.accepted for tick in episode.ticks)
    start = episode.ticks[0].observation.q[:2]
    np.testing.assert_allclose(episode.ticks[1].observation.q[:2], start, atol=1e-6)
    moved = arm.env.position - start
    np.testing.assert_allclose(moved, 19 * toy.STEP_M * np.array([1.0, 0.5]), atol=1e-6)
    # What it was planned from: the belief, and the step that was already under way.
    believed = episode.ticks[5].plan.states[0]["position"][0].numpy()
    np.testing.assert_allclose(believed, episode.ticks[7].observation.q[:2], atol=1e-5)


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
    assert one["receipt"]["accepted"] and one["receipt"]["sent"] == len(one["chunk"]["q"]) > 1
    assert one["chunk"]["dq"][-1] == [0, 0, 0]
    assert one["stamp_s"] == pytest.approx(0.1)


def test_targets_that_are_no_numbers_are_rejected_and_logged(monkeypatch):
    monkeypatch.setattr(toy.PointCommander, "target", lambda *_: np.full(3, np.nan))
    log = json.dumps(run(max_rejections=1)[0].to_dict(), allow_nan=False)
    assert "q is not finite at slide_x" in json.loads(log)["log"][0]["receipt"]["reason"]


@pytest.mark.parametrize("name", ["max_rejections", "step_s", "waypoint_s"])
def test_a_loop_that_cannot_run_is_refused(name):
    with pytest.raises(UserError, match=name):
        loop.LoopConfig(**{name: 0})
