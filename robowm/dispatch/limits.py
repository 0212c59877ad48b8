"""What an arm may do, as a user sets it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from robowm.dispatch.arm import ArmSpec, Array


@dataclasses.dataclass
class LimitsConfig:
    """What an arm may do; the defaults are for the simulated Panda-class arm.

    Attributes:
      position_margin_rad: kept to each joint's end stop; the gripper may use all of its stroke.
      velocity_scale: share of the published velocity limits.
      acceleration, jerk: of every joint but the gripper, rad/s^2 and rad/s^3.
      workspace_low, workspace_high: [3] m, box for the tool point.
      force_n: at the tool, where it is measured.
    """

    position_margin_rad: float = 0.1
    velocity_scale: float = 1.0
    acceleration: float = 45.0
    jerk: float = 45_000.0
    workspace_low: tuple[float, float, float] = (0.25, -0.32, 0.0)
    workspace_high: tuple[float, float, float] = (0.73, 0.32, 0.40)
    force_n: float = 60.0

    def spec(self, names: Any, low: Array, high: Array, velocity: Array, rate_hz: float) -> ArmSpec:
        """The limits of joints [N] with these end stops and published velocities."""
        margin = np.full(len(names), self.position_margin_rad)
        margin[-1] = 0.0
        driven = np.isfinite(velocity)
        return ArmSpec(
            joints=tuple(names),
            position_low=tuple((low + margin).tolist()),
            position_high=tuple((high - margin).tolist()),
            velocity=tuple((velocity * self.velocity_scale).tolist()),
            acceleration=tuple(np.where(driven, self.acceleration, np.inf).tolist()),
            jerk=tuple(np.where(driven, self.jerk, np.inf).tolist()),
            workspace_low=self.workspace_low,
            workspace_high=self.workspace_high,
            rate_hz=rate_hz,
            force_n=self.force_n,
        )
