"""An environment driven joint by joint, the way that a real arm is commanded."""

from __future__ import annotations

import dm_env
import numpy as np

from robowm_envs.controller import CONTROL_DT_S
from robowm_envs.env import ManipulationEnv
from robowm_envs.errors import EnvError


class JointPort:
    """N joints: those of the arm (rad), and last the gripper, as the width of its opening (m).

    Attributes:
      names: [N].
      low, high: [N] end stops.
      velocity: [N] limits, rad/s; infinite for the gripper, whose drive limits itself.
      sample_s: [S] times within a control step at which the drives are told where to be.
    """

    def __init__(self, env: ManipulationEnv):
        self._env, self._physics = env, env.physics
        model, arm = env.physics.model, env.physics.scene.arm
        self._width = arm.width_max_m
        self._finger_dofs = np.array([model.joint(name).dofadr[0] for name in arm.fingers])
        self.names = tuple(name.split("/")[-1] for name in arm.joints) + ("gripper",)
        self.low = np.append(env.physics.joint_low, 0.0)
        self.high = np.append(env.physics.joint_high, self._width)
        self.velocity = np.append(arm.joint_velocity, np.inf)
        substeps = round(CONTROL_DT_S / model.opt.timestep)
        self.sample_s = CONTROL_DT_S * np.arange(1, substeps + 1) / substeps

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Measured position and velocity, [N] each."""
        physics = self._physics
        closing = physics.data.qvel[self._finger_dofs].sum()
        return (
            np.append(physics.joint_position(), physics.gripper_width()),
            np.append(physics.joint_velocity(), closing),
        )

    def effort(self) -> np.ndarray:
        """[N]: of the drives in the last time step (N m); of the gripper the share of its force, closing."""
        physics = self._physics
        return np.append(
            physics.data.actuator_force[physics.arm_actuators], physics.gripper_force()
        )

    def follow(self, q: np.ndarray, dq: np.ndarray) -> dm_env.TimeStep:
        """One control step along positions and velocities [S, N]; to be asked of a running episode only."""
        expected = (len(self.sample_s), len(self.names))
        for what, array in (("positions", q), ("velocities", dq)):
            if np.shape(array) != expected or not np.isfinite(array).all():
                raise EnvError(
                    f"joint {what} have shape {np.shape(array)}: expected {expected}, finite."
                )
        self._env.disturb()
        closed = q[:, -1] < self._width / 2
        self._physics.simulate(self._env.controller.follow(q[:, :-1], dq[:, :-1], closed))
        return self._env.finish_step()
