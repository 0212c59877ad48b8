"""An elongated box: its long side tells its yaw, its short side fits the gripper."""

from __future__ import annotations

import dataclasses

import numpy as np

from robowm_envs import geometry


@dataclasses.dataclass(frozen=True)
class Box:
    """A rigid bar of square section and even density.

    Attributes:
      half_size_m: half of its edges; x is the long one.
      mass_kg: see name.
      friction: sliding coefficient against everything that it touches.
      rgb: colour.
      cap_rgb: colour of the end at +x, where it can be told from the other.
      yaw_order: turns about the vertical by 2 pi / yaw_order leave it as it was.
      symmetries: [K, 3, 3] rotations that leave it as it was.
    """

    half_size_m: tuple[float, float, float]
    mass_kg: float
    friction: float
    rgb: tuple[float, float, float]
    yaw_order: int = 2
    cap_rgb: tuple[float, float, float] | None = None

    @property
    def symmetries(self) -> np.ndarray:
        return geometry.SQUARE_BAR if self.cap_rgb is None else geometry.CAPPED_BAR


BAR = Box(half_size_m=(0.055, 0.020, 0.020), mass_kg=0.15, friction=1.0, rgb=(0.90, 0.12, 0.10))
CAPPED_BAR = dataclasses.replace(BAR, cap_rgb=(0.95, 0.85, 0.10), yaw_order=1)
