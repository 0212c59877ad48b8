"""Rotations, and how far apart two of them are when an object looks the same after some turns.

Rotations are matrices [3, 3] that take the object's frame to the world's. Angles are in radians.
"""

from __future__ import annotations

import math

import numpy as np


def _square_bar() -> np.ndarray:
    quarter = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # about the long axis
    rolls = [np.linalg.matrix_power(quarter, k) for k in range(4)]
    ends = np.eye(3), np.diag([-1.0, -1.0, 1.0])
    return np.array([roll @ end for end in ends for roll in rolls])


# The eight rotations that leave a bar of square section, long in x, as it was (dihedral group D4).
SQUARE_BAR = _square_bar()
# The half turns that leave a brick with three different edges as it was (D2).
BRICK = np.array([np.diag(signs) for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))])


def wrap(angle: float, period: float = 2 * np.pi) -> float:
    """The equivalent angle in [-period/2, period/2)."""
    return float((angle + period / 2) % period - period / 2)


def about_z(yaw: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def quat_about_z(yaw: float) -> np.ndarray:
    """[4], w first."""
    return np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])


def pointing_down(yaw: float) -> np.ndarray:
    """A hand that looks down (its z is the world's -z), turned by ``yaw`` about the vertical."""
    return about_z(yaw) * np.array([1.0, -1.0, -1.0])


def yaw_of(rotation: np.ndarray) -> float:
    """Heading of the frame's x axis in the horizontal plane, rad."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def gap_between(
    a: tuple[np.ndarray, float], half_a: np.ndarray, b: tuple[np.ndarray, float], half_b: np.ndarray
) -> float:
    """How far two rectangles in the plane are apart, or below 0 how deep they overlap.

    Each is given by its middle [2] (m) with its yaw, and by half of its edges [2] (m). Between
    corners the distance is a little more than this: the separating axis theorem looks along edges.
    """
    axes_a, axes_b = about_z(a[1])[:2, :2], about_z(b[1])[:2, :2]  # one in each column
    along = np.abs((b[0] - a[0]) @ np.hstack([axes_a, axes_b]))  # [4]
    turned = np.abs(axes_a.T @ axes_b)
    reach = np.concatenate([half_a + turned @ half_b, half_b + turned.T @ half_a])
    return float((along - reach).max())


def angle_between(a: np.ndarray, b: np.ndarray) -> float:
    """Angle of the rotation that takes ``a`` to ``b``, in [0, pi]."""
    return rotation_error(a, b, np.eye(3)[None])


def rotation_error(
    rotation: np.ndarray, target: np.ndarray, symmetries: np.ndarray = SQUARE_BAR
) -> float:
    """Smallest angle between ``rotation`` and ``target @ s`` over the symmetries s [K, 3, 3]."""
    turn = rotation.T @ target
    # The trace tells which is nearest, tr(turn @ s); but only atan2 keeps its precision near 0 and pi,
    # where arccos of the trace loses half the digits.
    nearest = symmetries[(symmetries.transpose(0, 2, 1).reshape(-1, 9) @ turn.ravel()).argmax()]
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (turn @ nearest).tolist()
    return math.atan2(math.hypot(zy - yz, xz - zx, yx - xy), xx + yy + zz - 1.0)
