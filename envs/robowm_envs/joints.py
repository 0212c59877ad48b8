"""An environment driven joint by joint, the way that a real arm is commanded.

``port.step(port.targets(action))`` is ``env.step(action)``, to the bit; between the two halves
whoever drives may look at the joint targets, and refuse them.
"""

from __future__ import annotations

import dm_env
import numpy as np

from robowm_envs.env import ManipulationEnv
from robowm_envs.errors import EnvError


class JointPort:
    """N joints: those of the arm (rad), and last the gripper, as the width of its opening (m).

    Attributes:
      names: [N].
      low, high: [N] end stops.
      velocity: [N] limits, rad/s; infinite for the gripper, whose drive limits itself.
    """

    def __init__(self, env: ManipulationEnv):
        self._env, self._physics, self._controller = env, env.physics, env.controller
        model, arm = env.physics.model, env.physics.scene.arm
        self._width = arm.width_max_m
        self._finger_dofs = np.array([model.joint(name).dofadr[0] for name in arm.fingers])
        self.names = (*arm.joints, "gripper")
        self.low = np.append(env.physics.joint_low, 0.0)
        self.high = np.append(env.physics.joint_high, self._width)
        self.velocity = np.append(arm.joint_velocity, np.inf)
        # Targets given out last, with the controller and the actuator inputs that belong to them.
        self._given: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """Measured position and velocity, [N] each."""
        physics = self._physics
        closing = physics.data.qvel[self._finger_dofs].sum()
        return (
            np.append(physics.joint_position(), physics.gripper_width()),
            np.append(physics.joint_velocity(), closing),
        )

    def targets(self, action: np.ndarray) -> np.ndarray:
        """Joint targets [N] that ``action`` [A] means here and now; nothing moves."""
        controller = self._controller
        before = controller.to_vector()
        try:
            controls = self._env.begin_step(action)
            q = np.append(controller.joint_target, 0.0 if controller.closed else self._width)
            self._given = q.copy(), controller.to_vector(), controls
        finally:
            controller.from_vector(before)
        return q

    def step(self, q: np.ndarray) -> dm_env.TimeStep:
        """Follow the targets [N] for one control step; to be asked of a running episode only."""
        q = np.asarray(q, np.float64)
        if q.shape != self.low.shape or not np.isfinite(q).all():
            raise EnvError(
                f"joint targets are {q.tolist()}: expected {len(self.low)} finite numbers."
            )
        if self._given is not None and np.array_equal(q, self._given[0]):
            _, command, controls = self._given
            self._controller.from_vector(command)
        else:
            controls = self._follow(q)
        self._given = None
        self._physics.simulate(controls)
        return self._env.finish_step()

    def tool_position(self, q: np.ndarray) -> np.ndarray:
        """Forward kinematics: [N] -> [3] m, in the world."""
        return self._physics.kinematics(q[:-1])[0]

    def _follow(self, q: np.ndarray) -> np.ndarray:
        """Actuator inputs for targets from elsewhere: the hand is commanded where they bring it."""
        controller, start = self._controller, self._controller.joint_target
        position, rotation, _ = self._physics.kinematics(q[:-1])
        controller.command(position, rotation)
        controller.closed = bool(q[-1] < self._width / 2)
        controller.joint_target = q[:-1].copy()
        return controller._ramp(start)
