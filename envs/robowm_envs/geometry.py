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
# Those of them that keep its ends apart: quarter turns about the long axis.
CAPPED_BAR = SQUARE_BAR[:4]
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


def rotation_of(vector: np.ndarray) -> np.ndarray:
    """The rotation by ``|vector|`` rad about ``vector`` [3] (O. Rodrigues)."""
    angle = math.hypot(*vector.tolist())
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = (vector / angle).tolist()
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)


def vector_of(rotation: np.ndarray) -> np.ndarray:
    """[3] rad, the inverse of :func:`rotation_of`; its length is in [0, pi]."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    axis, cosine = np.array([zy - yz, xz - zx, yx - xy]), xx + yy + zz - 1.0
    sine = math.hypot(*axis.tolist())
    if sine > 1e-9:
        return axis * (math.atan2(sine, cosine) / sine)
    if cosine > 0:
        return axis / 2
    # Half a turn: the rotation is 2 n n' - 1, and any column of n n' that is not small tells n.
    column = ((rotation + np.eye(3)) / 2)[:, int(np.argmax([xx, yy, zz]))]
    return column * (np.pi / np.linalg.norm(column))


def tilted_down(tilt: np.ndarray, yaw: float) -> np.ndarray:
    """:func:`pointing_down`, then turned by ``tilt`` [2] rad about a horizontal axis of the world."""
    return rotation_of(np.append(tilt, 0.0)) @ pointing_down(yaw)


def tilt_and_yaw_of(rotation: np.ndarray) -> tuple[np.ndarray, float]:
    """The inverse of :func:`tilted_down`: tilt [2] shorter than pi, and yaw.

    This is the swing and the twist about the vertical; turning the world by some yaw turns the tilt
    and adds to the yaw, and there is no singularity before a hand points straight up.
    """
    x, y, z = rotation[:, 2].tolist()  # where the hand points
    sine = math.hypot(x, y)
    share = math.atan2(sine, -z) / sine if sine > 1e-12 else 1.0
    tilt = np.array([y, -x]) * share
    return tilt, yaw_of(rotation_of(np.append(-tilt, 0.0)) @ rotation)


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
