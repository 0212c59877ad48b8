"""Differential inverse kinematics by damped least squares; pure NumPy, for any serial arm.

The simulator and a real arm call the same function; they differ in the ``kinematics`` handed in.
Source: Y. Nakamura and H. Hanafusa, "Inverse kinematic solutions with singularity robustness for
robot manipulator control", ASME JDSMC 108(3), 1986; the posture term is A. Liegeois', 1977.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# joint position [n] -> tool position [3], tool rotation [3, 3], Jacobian [6, n] (linear rows first)
Kinematics = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def pose_error(
    position: np.ndarray,
    rotation: np.ndarray,
    target_position: np.ndarray,
    target_rotation: np.ndarray,
) -> np.ndarray:
    """Twist [6] (m, rad) in the world that leads from the pose to the target.

    The angular half is sin(angle) * axis: exact in direction, and in size for small angles.
    """
    (_, xy, xz), (yx, _, yz), (zx, zy, _) = (target_rotation @ rotation.T).tolist()
    angular = (0.5 * (zy - yz), 0.5 * (xz - zx), 0.5 * (yx - xy))
    return np.array([*(target_position - position), *angular])


def solve(
    kinematics: Kinematics,
    joint_position: np.ndarray,
    target_position: np.ndarray,
    target_rotation: np.ndarray,
    *,
    joint_low: np.ndarray,
    joint_high: np.ndarray,
    max_change: np.ndarray,
    rest: np.ndarray,
    damping: float = 0.03,
    posture_gain: float = 0.1,
    iterations: int = 3,
) -> np.ndarray:
    """Joint position [n] (rad) whose tool pose is near the target, close to where we are.

    Args:
      kinematics: joint position -> pose and Jacobian.
      joint_position: [n], where to start; the result stays within ``max_change`` of it.
      target_position, target_rotation: [3] (m), [3, 3], in the base frame.
      joint_low, joint_high: [n] limits, kept by clipping.
      max_change: [n] rad, the velocity limit times the duration of the move.
      rest: [n] posture that the redundant directions drift towards.
      damping: the singularity-robust term, in units of the Jacobian (m/rad).
      posture_gain: share of the way to ``rest`` taken in the null space at each iteration.
      iterations: Newton steps; three bring a 5 cm, 15 degree move to within 0.1 mm.
    """
    low = np.maximum(joint_low, joint_position - max_change)
    high = np.minimum(joint_high, joint_position + max_change)
    q = joint_position
    damped = damping**2 * np.eye(6)
    for _ in range(iterations):
        position, rotation, jacobian = kinematics(q)
        error = pose_error(position, rotation, target_position, target_rotation)
        posture = posture_gain * (rest - q)
        # J+ e + (1 - J+ J) p, with J+ = J' (J J' + d^2)^-1, in one solution of six equations.
        twist = np.linalg.solve(jacobian @ jacobian.T + damped, error - jacobian @ posture)
        q = np.minimum(np.maximum(q + posture + twist @ jacobian, low), high)
    return q
