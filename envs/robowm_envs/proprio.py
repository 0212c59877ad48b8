"""What the arm feels of itself: the observation ``proprio``.

[P]: joint positions and velocities [n] each (rad, rad/s), position of the tool point [3] (m), the x and y
axes of its frame [6], the width of the gripper's opening (m) and the share of its force in [-1, 1].
"""

from __future__ import annotations

import numpy as np

from robowm_envs.physics import Physics
from robowm_envs.scene import WORKSPACE_HIGH_M, WORKSPACE_LOW_M


def vector(physics: Physics) -> np.ndarray:
    """[P] of the present state."""
    return compose(
        physics,
        physics.joint_position(),
        physics.joint_velocity(),
        physics.gripper_width(),
        physics.gripper_force(),
    )


def compose(
    physics: Physics, q: np.ndarray, dq: np.ndarray, width_m: float, force: float
) -> np.ndarray:
    """[P] of measured joints; the hand is where ``physics`` has it."""
    hand = [physics.hand_position(), physics.hand_rotation()[:, :2].T.ravel()]
    return np.concatenate([q, dq, *hand, [width_m, force]])


def bounds(physics: Physics) -> tuple[np.ndarray, np.ndarray]:
    """[P] each, between which the observation is clipped."""
    arm, axes = physics.scene.arm, np.ones(6)
    speed, width = arm.joint_velocity, arm.width_max_m
    return (
        np.concatenate([physics.joint_low, -speed, WORKSPACE_LOW_M, -axes, [0.0, -1.0]]),
        np.concatenate([physics.joint_high, speed, WORKSPACE_HIGH_M, axes, [width, 1.0]]),
    )
