"""The gate before the simulated arm in its scene: what the expert does is never refused."""

import numpy as np
import pytest

import robowm_envs
from robowm.dispatch.arms.sim import SimArm, SimArmConfig
from robowm.dispatch.fuzz.recording import demonstrate
from robowm_envs.expert import Expert
from robowm_envs.joints import JointPort
from robowm_envs.twin import Twin


@pytest.mark.parametrize("task", ["grasp_rotate_place", "reorient", "sort"])
def test_an_expert_succeeds_along_trajectories_that_the_gate_lets_through(task):
    env = robowm_envs.make(task, observation="state", split="test")
    arm = SimArm(SimArmConfig(), env, JointPort(env), seed=12)
    arm.connect()
    twin, names = Twin(), env.task.actions.names
    commander = twin.commander(names, arm.spec.position_low, arm.spec.position_high)
    switches = (False,) * (len(names) - 1) + (True,)
    episode = demonstrate(arm, Expert(env), twin, commander, switches)
    assert not [reason for tick in episode.ticks for reason in tick.decision.reasons]
    assert env.metrics()["success"] == 1.0
    tracking = [tick.decision.margins["tracking"] for tick in episode.ticks]
    assert np.min(tracking) > 0.5
    env.close()
