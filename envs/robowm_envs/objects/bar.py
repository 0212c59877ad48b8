"""Elongated boxes: the long side tells the yaw, the short side of those that are picked up fits the
gripper."""

from __future__ import annotations

import dataclasses

import numpy as np

from robowm_envs import geometry


@dataclasses.dataclass(frozen=True)
class Box:
    """A rigid box of even density.

    Attributes:
      half_size_m: half of its edges; x is the long one.
      mass_kg: see name.
      friction: sliding coefficient against everything that it touches.
      rgb: colour.
      cap_rgb: colour of the end at +x, where it can be told from the other.
      yaw_order: turns about the vertical by 2 pi / yaw_order leave it as it was.
      name: of its body, and of what is told of it; the first thing of a scene is ``object``.
      margin_m: contacts bear from this distance on, so that it never quite touches what it lies on.
      symmetries: [K, 3, 3] rotations that leave it as it was.
    """

    half_size_m: tuple[float, float, float]
    mass_kg: float
    friction: float
    rgb: tuple[float, float, float]
    yaw_order: int = 2
    cap_rgb: tuple[float, float, float] | None = None
    name: str = "object"
    margin_m: float = 0.0

    @property
    def is_directed(self) -> bool:
        """Whether its ends differ: which way it points says more than a yaw, and in every pose."""
        return self.cap_rgb is not None

    @property
    def symmetries(self) -> np.ndarray:
        if self.is_directed:
            return geometry.CAPPED_BAR
        is_square = self.half_size_m[1] == self.half_size_m[2]
        return geometry.SQUARE_BAR if is_square else geometry.BRICK


BAR = Box(half_size_m=(0.055, 0.020, 0.020), mass_kg=0.15, friction=1.0, rgb=(0.90, 0.12, 0.10))
CAPPED_BAR = dataclasses.replace(BAR, cap_rgb=(0.95, 0.85, 0.10), yaw_order=1)
# To put a bar on: heavy enough to stay when it is touched, and low enough to let a finger that comes
# down on it still hold a bar that lies close beside it. Where two boxes lie across each other and touch,
# MuJoCo may see two edges instead of two faces, another pair at each time step, and the bar shakes for
# ever. With this margin they do not touch; with 2 mm a hard landing can still bring them together.
BASE = Box(
    (0.060, 0.032, 0.010), mass_kg=0.5, friction=1.0, rgb=(0.10, 0.25, 0.85), name="base",
    margin_m=0.003,
)  # fmt: skip
# Hues a third of the circle apart: no shift of colour makes one look like another.
SMALL_BARS = (
    Box((0.035, 0.015, 0.015), mass_kg=0.06, friction=1.0, rgb=(0.90, 0.12, 0.10)),
    Box((0.035, 0.015, 0.015), mass_kg=0.06, friction=1.0, rgb=(0.12, 0.80, 0.15), name="green"),
    Box((0.035, 0.015, 0.015), mass_kg=0.06, friction=1.0, rgb=(0.10, 0.25, 0.90), name="blue"),
)
