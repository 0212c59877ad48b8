"""From actions to joint targets: a commanded hand pose, moved by actions, followed by inverse kinematics."""

from __future__ import annotations

import numpy as np

from robowm_envs import geometry, ik, scene
from robowm_envs.physics import Physics

NAMES = ("dx_m", "dy_m", "dz_m", "dyaw_rad", "gripper")
SCALE = np.array([0.05, 0.05, 0.05, 0.25, 1.0], np.float32)
CONTROL_DT_S = 0.1
# How far the command may run ahead of the hand: pressing on the table does not wind up.
LEASH_M = 0.03
LEASH_RAD = 0.3


class HandController:
    """Holds the commanded pose: position [3] (m), yaw (rad), gripper, and the joint target [n]."""

    def __init__(self, physics: Physics):
        self._physics = physics
        self.position, self.yaw, self.closed = np.zeros(3), 0.0, False
        self.joint_target = np.zeros(len(physics.arm_qpos))
        self._velocity = np.zeros_like(self.joint_target)
        self._substeps = round(CONTROL_DT_S / physics.model.opt.timestep)
        actuators = physics.arm_actuators
        gain, bias = physics.model.actuator_gainprm[actuators, 0], physics.model.actuator_biasprm
        # A servo kp (u - q) - kv dq trails a moving target by kv/kp seconds; feed that forward.
        self._lead_s = -bias[actuators, 2] / gain
        self._max_change = physics.scene.arm.joint_velocity * CONTROL_DT_S

    def reset(self) -> None:
        """Command what is."""
        physics = self._physics
        self.position, self.yaw = physics.hand_position(), physics.hand_yaw()
        self.joint_target = physics.joint_position()
        self._velocity = np.zeros_like(self.joint_target)
        self.closed = False

    def controls(self, action: np.ndarray) -> np.ndarray:
        """Move the command by ``action`` [5] in [-1, 1]; actuator inputs [substeps, nu] that follow it."""
        physics = self._physics
        move = action[:4] * SCALE[:4]
        measured = physics.hand_position()
        position = _within(self.position + move[:3], scene.WORKSPACE_LOW_M, scene.WORKSPACE_HIGH_M)
        reach = LEASH_M + np.abs(move[:3])
        self.position = _within(position, measured - reach, measured + reach)
        turn = float(move[3])
        yaw = min(max(self.yaw + turn, -scene.YAW_LIMIT_RAD), scene.YAW_LIMIT_RAD)
        behind = geometry.wrap(yaw - physics.hand_yaw())
        leash = LEASH_RAD + abs(turn)
        self.yaw = yaw - behind + min(max(behind, -leash), leash)
        self.closed = bool(action[4] > 0)
        start = self.joint_target
        self.joint_target = ik.solve(
            physics.kinematics,
            start,
            self.position,
            geometry.pointing_down(self.yaw),
            joint_low=physics.joint_low,
            joint_high=physics.joint_high,
            max_change=self._max_change,
            rest=physics.scene.arm.rest,
        )
        return self._ramp(start)

    def _ramp(self, start: np.ndarray) -> np.ndarray:
        physics, arm, n = self._physics, self._physics.scene.arm, self._substeps
        control = np.tile(physics.data.ctrl, (n, 1))
        control[:, physics.gripper] = arm.gripper_closed if self.closed else arm.gripper_open
        change = self.joint_target - start
        velocity = change / CONTROL_DT_S
        before, self._velocity = self._velocity, velocity
        share = np.arange(1, n + 1)[:, None] / n
        # The speed fed forward ramps over half a control step: no jerk where steps meet.
        ramp = np.minimum(1.0, 2 * share)
        control[:, physics.arm_actuators] = (
            start + change * share + self._lead_s * (before + (velocity - before) * ramp)
        )
        return control

    def to_vector(self) -> np.ndarray:
        command = [*self.position, self.yaw, self.closed]
        return np.concatenate([command, self.joint_target, self._velocity])

    def from_vector(self, vector: np.ndarray) -> None:
        n = len(self.joint_target)
        self.position, self.yaw, self.closed = vector[:3].copy(), float(vector[3]), bool(vector[4])
        self.joint_target, self._velocity = vector[5 : 5 + n].copy(), vector[5 + n :].copy()

    @property
    def size(self) -> int:
        return 5 + 2 * len(self.joint_target)


def _within(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """np.clip, at a third of its time for a handful of numbers."""
    return np.minimum(np.maximum(x, low), high)
