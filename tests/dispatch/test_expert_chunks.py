"""The gate before the simulated arm in its scene: what the expert does is never refused."""

import numpy as np
import pytest

import robowm_envs
from robowm.dispatch import loop
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.dispatch.sim import SimArm, SimArmConfig
from robowm_envs.expert import Expert
from robowm_envs.joints import JointPort
from robowm_envs.twin import Twin


class Driver:
    """The expert as the loop's agent; it sees the true state."""

    last_plan = None

    def __init__(self, env):
        self.expert = Expert(env)

    def reset(self):
        self.expert.reset()

    def act(self, observation, committed=()):
        return self.expert.act(observation)

    def executed(self, action):
        pass


@pytest.mark.parametrize("task", ["grasp_rotate_place", "reorient", "sort"])
def test_an_expert_succeeds_along_trajectories_that_the_gate_lets_through(task):
    env = robowm_envs.make(task, observation="state", split="test")
    arm = SimArm(SimArmConfig(), env, JointPort(env), seed=12)
    arm.connect()
    twin, names = Twin(), env.task.actions.names
    episode = loop.run(
        arm,
        Driver(env),
        SafetyGate(SafetyConfig(), arm.spec, twin),
        twin.commander(names, arm.spec.position_low, arm.spec.position_high),
        (False,) * (len(names) - 1) + (True,),
        over=lambda: arm.timestep.last(),
    )
    assert not [reason for tick in episode.ticks for reason in tick.decision.reasons]
    assert env.metrics()["success"] == 1.0
    tracking = [tick.decision.margins["tracking"] for tick in episode.ticks]
    assert np.min(tracking) > 0.5
    env.close()
