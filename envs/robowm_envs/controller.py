"""From actions to joint targets: a commanded hand pose, moved by actions, followed by inverse kinematics."""

from __future__ import annotations

import dataclasses

import numpy as np

from robowm_envs import geometry, ik, scene
from robowm_envs.physics import Physics


@dataclasses.dataclass(frozen=True)
class ActionSpace:
    """What the numbers of an action move.

    Attributes:
      names: [A], with their units.
      scale: [A] what 1.0 means, a control step long.
    """

    names: tuple[str, ...]
    scale: np.ndarray

    @property
    def tilts(self) -> bool:
        """Whether the hand turns freely, or about the vertical alone."""
        return len(self.names) == 7


_MOVE, _TURN = [0.05, 0.05, 0.05], 0.25
UPRIGHT = ActionSpace(
    ("dx_m", "dy_m", "dz_m", "dyaw_rad", "gripper"), np.array([*_MOVE, _TURN, 1.0], np.float32)
)
# The rotation vector is in world axes, about the tool point.
TILTING = ActionSpace(
    ("dx_m", "dy_m", "dz_m", "drx_rad", "dry_rad", "drz_rad", "gripper"),
    np.array([*_MOVE, _TURN, _TURN, _TURN, 1.0], np.float32),
)
CONTROL_DT_S = 0.1
# How far the command may run ahead of the hand: pressing on the table does not wind up.
LEASH_M = 0.03
LEASH_RAD = 0.3
# A hand that turns freely is commanded only where the joints bring it to within this.
REACHED_M, REACHED_RAD = 0.01, 0.1
# What is tried of a move that does not: half, the way without the turn, the turn without the way.
_LESS = np.array([[0.5] * 6, [1.0] * 3 + [0.0] * 3, [0.0] * 3 + [1.0] * 3])


class HandController:
    """Holds the commanded pose and the joint target [n] that follows it.

    Attributes:
      position: [3] m.
      yaw: rad.
      tilt: [2] rad, from pointing down, about a horizontal axis of the world; 0 where the action
        space does not tilt. See :func:`geometry.tilted_down`.
      closed: the gripper.
    """

    def __init__(self, physics: Physics, space: ActionSpace = UPRIGHT):
        self._physics, self.space = physics, space
        self.position, self.yaw, self.closed = np.zeros(3), 0.0, False
        self.tilt = np.zeros(2)
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
        self.command(physics.hand_position(), physics.hand_rotation())
        self.joint_target = physics.joint_position()
        self._velocity = np.zeros_like(self.joint_target)
        self.closed = False

    def command(self, position: np.ndarray, rotation: np.ndarray) -> None:
        """A hand pose, as near to it as this action space comes."""
        self.position = position
        if self.space.tilts:
            self.tilt, self.yaw = _limited(rotation)
        else:
            self.yaw = geometry.yaw_of(rotation)

    @property
    def rotation(self) -> np.ndarray:
        """[3, 3] of the commanded hand."""
        if self.space.tilts:
            return geometry.tilted_down(self.tilt, self.yaw)
        return geometry.pointing_down(self.yaw)

    def controls(self, action: np.ndarray) -> np.ndarray:
        """Move the command by ``action`` [A] in [-1, 1]; actuator inputs [substeps, nu] that follow it."""
        start = self.joint_target
        self.aim(action)
        return self._ramp(start)

    def aim(self, action: np.ndarray) -> None:
        """Move the command by ``action`` [A] in [-1, 1], and the joint target after it."""
        move = action[:-1] * self.space.scale[:-1]
        self.closed = bool(action[-1] > 0)
        start, before = self.joint_target, (self.position, self.tilt, self.yaw)
        self._move(move)
        self.joint_target = self._solve()
        if self.space.tilts and not self._is_reached():
            self._move_less(move, before, start)

    def _move(self, move: np.ndarray) -> None:
        """Move the command by metres and radians [A - 1]."""
        measured = self._physics.hand_position()
        position = _within(self.position + move[:3], scene.WORKSPACE_LOW_M, scene.WORKSPACE_HIGH_M)
        reach = LEASH_M + np.abs(move[:3])
        self.position = _within(position, measured - reach, measured + reach)
        if self.space.tilts:
            self._turn(move[3:])
        else:
            self._turn_about_vertical(float(move[3]))

    def _move_less(self, move: np.ndarray, before: tuple, start: np.ndarray) -> None:
        """As much of a move as the arm can follow, or none of it.

        Commanded where it does not reach, damped least squares trades position for rotation, and the
        leash would follow the hand out of the workspace.
        """
        for share in _LESS:
            (self.position, self.tilt, self.yaw), self.joint_target = before, start
            self._move(share * move)
            self.joint_target = self._solve()
            if self._is_reached():
                return
        self.joint_target = start
        position, rotation, _ = self._physics.kinematics(start)
        self.command(position, rotation)

    def _solve(self) -> np.ndarray:
        """[n] joint position that brings the hand to the command."""
        physics = self._physics
        return ik.solve(
            physics.kinematics,
            self.joint_target,
            self.position,
            self.rotation,
            joint_low=physics.joint_low,
            joint_high=physics.joint_high,
            max_change=self._max_change,
            rest=physics.scene.arm.rest,
        )

    def _is_reached(self) -> bool:
        position, rotation, _ = self._physics.kinematics(self.joint_target)
        error = ik.pose_error(position, rotation, self.position, self.rotation)
        return bool(
            np.linalg.norm(error[:3]) < REACHED_M and np.linalg.norm(error[3:]) < REACHED_RAD
        )

    def _turn(self, vector: np.ndarray) -> None:
        """Turn the command by a rotation vector [3] rad, in world axes."""
        rotation, measured = (
            geometry.rotation_of(vector) @ self.rotation,
            self._physics.hand_rotation(),
        )
        behind = geometry.vector_of(rotation @ measured.T)
        angle, leash = np.linalg.norm(behind), LEASH_RAD + np.linalg.norm(vector)
        if angle > leash:
            rotation = geometry.rotation_of(behind * (leash / angle)) @ measured
        self.tilt, self.yaw = _limited(rotation)

    def _turn_about_vertical(self, turn: float) -> None:
        yaw = min(max(self.yaw + turn, -scene.YAW_LIMIT_RAD), scene.YAW_LIMIT_RAD)
        behind = geometry.wrap(yaw - self._physics.hand_yaw())
        leash = LEASH_RAD + abs(turn)
        self.yaw = yaw - behind + min(max(behind, -leash), leash)

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

    def follow(self, q: np.ndarray, dq: np.ndarray, closed: np.ndarray) -> np.ndarray:
        """Actuator inputs [substeps, nu] for joint positions and velocities [substeps, n] from elsewhere,
        and whether the gripper closes [substeps]; the hand is commanded where they bring it."""
        physics, arm = self._physics, self._physics.scene.arm
        control = np.tile(physics.data.ctrl, (len(q), 1))
        control[:, physics.gripper] = np.where(closed, arm.gripper_closed, arm.gripper_open)
        control[:, physics.arm_actuators] = q + self._lead_s * dq
        position, rotation, _ = physics.kinematics(q[-1])
        self.command(position, rotation)
        self.joint_target, self._velocity = q[-1].copy(), dq[-1].copy()
        self.closed = bool(closed[-1])
        return control

    def to_vector(self) -> np.ndarray:
        tilt = self.tilt if self.space.tilts else ()
        command = [*self.position, self.yaw, self.closed, *tilt]
        return np.concatenate([command, self.joint_target, self._velocity])

    def from_vector(self, vector: np.ndarray) -> None:
        n, first = len(self.joint_target), self.size - 2 * len(self.joint_target)
        self.position, self.yaw, self.closed = vector[:3].copy(), float(vector[3]), bool(vector[4])
        if self.space.tilts:
            self.tilt = vector[5:7].copy()
        self.joint_target = vector[first : first + n].copy()
        self._velocity = vector[first + n :].copy()

    @property
    def size(self) -> int:
        return (7 if self.space.tilts else 5) + 2 * len(self.joint_target)


def _limited(rotation: np.ndarray) -> tuple[np.ndarray, float]:
    """Tilt [2] and yaw of the nearest rotation that may be commanded."""
    tilt, yaw = geometry.tilt_and_yaw_of(rotation)
    share = min(1.0, scene.TILT_LIMIT_RAD / max(float(np.linalg.norm(tilt)), 1e-9))
    return share * tilt, min(max(yaw, -scene.YAW_LIMIT_RAD), scene.YAW_LIMIT_RAD)


def _within(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """np.clip, at a third of its time for a handful of numbers."""
    return np.minimum(np.maximum(x, low), high)
