"""What a scene must know of an arm, whoever made it."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np


@dataclasses.dataclass
class Arm:
    """An arm with a parallel gripper that points along its tool's z axis and closes along y.

    Attributes:
      spec: the arm alone, base at the origin, to be attached to a scene.
      joints: names of its n joints, base first; each has a position servo of the same index.
      fingers: names of the two finger joints; the width of the opening is the sum of both.
      gripper: name of the gripper's actuator.
      gripper_open, gripper_closed: its control values.
      pads: for each finger the geoms that may touch an object.
      hand, tcp: names of the hand's body and of the tool site.
      rest: [n] joint position (rad) with the hand pointing down; also the posture that redundancy
        is resolved towards.
      joint_velocity: [n] limits, rad/s.
      width_max_m: the widest opening.
      hand_balls: [M, 5] balls that cover hand and fingers, in the tool's frame: centre (m), radius
        (m), and the finger that it moves with: 1 or -1 along y by half the opening, 0 neither.
    """

    spec: mujoco.MjSpec
    joints: tuple[str, ...]
    fingers: tuple[str, str]
    gripper: str
    gripper_open: float
    gripper_closed: float
    pads: tuple[tuple[str, ...], tuple[str, ...]]
    hand: str
    tcp: str
    rest: np.ndarray
    joint_velocity: np.ndarray
    width_max_m: float
    hand_balls: np.ndarray

    def prefixed(self, prefix: str) -> Arm:
        """The same arm under the names that it has after being attached with a prefix."""

        def names(group: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(prefix + name for name in group)

        return dataclasses.replace(
            self,
            joints=names(self.joints),
            fingers=(prefix + self.fingers[0], prefix + self.fingers[1]),
            gripper=prefix + self.gripper,
            pads=(names(self.pads[0]), names(self.pads[1])),
            hand=prefix + self.hand,
            tcp=prefix + self.tcp,
        )


def opened(hand_balls: np.ndarray, width_m: float) -> np.ndarray:
    """``Arm.hand_balls`` where the fingers are ``width_m`` apart: [M, 4], centre and radius."""
    balls = hand_balls[:, :4].copy()
    balls[:, 1] += hand_balls[:, 4] * width_m / 2
    return balls
