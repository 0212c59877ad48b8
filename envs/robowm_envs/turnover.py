"""The scripted demonstrator's part for ``reorient``: stand a lying bar on end, its cap up.

The hand turns by a right angle about its closing axis. The pads' faces are planes across that axis,
so how the hand leans when it grasps is free, and shared between both ends of the turn: it grasps
leaning a little over the cap and sets down lying nearly flat. Leaning more would bring the palm
onto the bar, less the wrist onto the table.

As in :mod:`robowm_envs.expert` nothing is remembered, and what is wanted is continuous where it can
be. A hand's pose is told by three angles: ``heading``, in which its x axis points; ``tilt``, of its
fingers from down towards the heading; ``roll``, which is to be 0: the closing axis is level.
"""

from __future__ import annotations

import math

import numpy as np

from robowm_envs import controller, geometry, scene
from robowm_envs.physics import Physics
from robowm_envs.tasks import Goal

ABOVE_M = 0.09  # of the grasp, where a hand that is not aligned waits
CARRY_M = 0.11  # height of the bar's middle on its way
RETREAT_M = 0.20
LEAN_RAD = np.deg2rad(20)  # over the cap, when it grasps
FLATTEST_RAD = scene.TILT_LIMIT_RAD - 0.03
# A bar that stands this well is let go; see expert.CONTENT_M.
CONTENT_M, CONTENT_RAD = 0.017, np.deg2rad(8.5)
GAIN, FASTEST = 0.6, 0.8  # see expert.GAIN, expert.FASTEST
YAW_REACH_RAD = scene.YAW_LIMIT_RAD - 0.05
# Fingers forward, the wrist is between the hand and the arm: it reaches that only turned aside.
ASIDE_RAD = 1.5
UP = np.array([0.0, 0.0, 1.0])


def decide(physics: Physics, goal: Goal) -> np.ndarray:
    """The action float32 [7] that fits the present state."""
    away, axis = goal.position - physics.object_position(), physics.object_axis()
    lean = math.atan2(math.hypot(axis[0], axis[1]), axis[2])
    stands = physics.object_on_table() or abs(away[2]) < 0.004
    if stands and lean < CONTENT_RAD and math.hypot(away[0], away[1]) < CONTENT_M:
        return _leave(physics)
    if not physics.grasped():
        return _take(physics)
    return _carry(physics, away, axis, lean)


def _take(physics: Physics) -> np.ndarray:
    """Above the bar, turned across it; down as far as aligned; close."""
    heading, tilt, roll = hand_angles(physics.hand_rotation())
    point, to_heading, to_tilt = _grasp(physics, heading)
    away, turn = point - physics.hand_position(), to_heading - heading
    # Fingers forward not every heading is reached: turn first.
    turned = np.clip(1.5 - 3 * max(abs(turn), abs(roll)), 0.0, 1.0)
    lean = turned * to_tilt + (1 - turned) * min(to_tilt, 0.0) - tilt
    across, width = math.hypot(away[0], away[1]), physics.gripper_width()
    askew = max(abs(turn), abs(lean) / 2)  # it holds as well when it leans otherwise
    if across < 0.015 and askew < np.deg2rad(11) and abs(away[2]) < 0.014:
        return _action(physics, away, turn, lean, closed=True)
    shut = np.clip((0.062 - width) / 0.02, 0.0, 1.0)  # fingers open before they go down
    amiss = max(_amiss(across, askew), shut)
    rise = away[2] + amiss * ABOVE_M
    # Low beside the bar: rise first, lest the fingers push it along.
    freedom = np.clip(1.0 - (rise - 0.01) / 0.03, 0.1, 1.0)
    move = np.array([*freedom * away[:2], rise])
    return _action(physics, move, freedom * turn, freedom * lean, closed=False)


def _grasp(physics: Physics, heading: float) -> tuple[np.ndarray, float, float]:
    """Where to grasp the bar as it is: point [3] (m), heading and tilt (rad)."""
    position, rotation = physics.object_position(), physics.object_rotation()
    axis = rotation[:, 0]
    if abs(axis[2]) > 0.7:  # on end: from above, by its upper end, across any two of its faces
        turn = geometry.wrap(math.atan2(rotation[1, 1], rotation[0, 1]) - heading, np.pi / 2)
        return position + (physics.object_half_size()[0] - 0.03) * UP, heading + turn, 0.0
    cap = math.atan2(axis[1], axis[0])
    # Near its base the arm does not get its wrist between itself and the bar.
    near = np.clip((0.46 - position[0]) / 0.08, 0.0, 1.0)
    options = [(cap, -LEAN_RAD), (geometry.wrap(cap + np.pi), LEAN_RAD * (1 - 0.7 * near))]
    reached = [option for option in options if abs(option[0]) <= YAW_REACH_RAD]
    return position, *min(reached, key=lambda option: abs(option[0] - heading))


def _carry(physics: Physics, away: np.ndarray, axis: np.ndarray, lean: float) -> np.ndarray:
    """Lift, turn over, move, lower as far as it fits. ``away`` and ``lean`` are the bar's."""
    rotation = physics.hand_rotation()
    heading, tilt, _ = hand_angles(rotation)
    in_hand = rotation.T @ axis
    to_tilt = math.atan2(in_hand[0], -in_hand[2])  # at which the cap is up
    beyond = abs(to_tilt) - FLATTEST_RAD
    if beyond > np.deg2rad(8):
        return _lay_down(physics, tilt, to_tilt)
    to_tilt = min(max(to_tilt, -FLATTEST_RAD), FLATTEST_RAD)
    here = physics.object_position()
    turn = _aside(heading, to_tilt, here, here + away) - heading
    clear = np.clip((physics.object_bottom() - 0.005) / 0.03, 0.0, 1.0)
    amiss = _amiss(math.hypot(away[0], away[1]), lean)
    rise = away[2] + amiss * (CARRY_M - away[2] - here[2])
    # Over the table first: nothing is dragged far.
    freedom = max(clear, 1 - amiss)
    # Every heading is reached leaning as for the grasp across the cap: turn like that, then over.
    turned = np.clip(2.4 - 8 * abs(turn), 0.0, 1.0)
    turn = max(turned, np.clip((0.3 - tilt) / 0.2, 0.0, 1.0)) * turn
    over = -LEAN_RAD + turned * (to_tilt + LEAN_RAD) - tilt
    move = np.array([*freedom * away[:2], rise - 0.002])
    return _action(physics, move, clear * turn, freedom * over, closed=True)


def _aside(heading: float, tilt: float, here: np.ndarray, there: np.ndarray) -> float:
    """The heading nearest to this one at which the arm reaches such a tilt on the way [3] to [3]."""
    if tilt > 0:
        near = np.clip((0.46 - min(here[0], there[0])) / 0.06, 0.0, 1.0)
        least, side = ASIDE_RAD + 0.2 * near, 1.0
    else:  # fingers back: only where that is far would the hand, beyond the bar, be out of reach
        far = np.clip((max(here[0], there[0]) - 0.42) / 0.06, 0.0, 1.0)
        least, side = ASIDE_RAD * far, 1.0 if there[1] < 0 else -1.0
    least = least * np.clip((abs(tilt) - 0.3) / 0.4, 0.0, 1.0)
    return side * max(side * heading, float(least))


def _lay_down(physics: Physics, tilt: float, to_tilt: float) -> np.ndarray:
    """Held so that no turn of the hand stands it up: lay it on its side, to be grasped again."""
    # On its side at a right angle to upright; of two ways the one that is the less flat for the hand.
    flat = min((geometry.wrap(to_tilt + side * np.pi / 2) for side in (1, -1)), key=abs)
    lean = np.clip(flat, -FLATTEST_RAD, FLATTEST_RAD) - tilt
    position, bottom = physics.object_position(), physics.object_bottom()
    amiss = _amiss(0.0, lean)
    rise = amiss * (CARRY_M - position[2]) - (1 - amiss) * (bottom + 0.002)
    clear = np.clip((bottom - 0.005) / 0.03, 0.0, 1.0)
    down = bottom < 0.004 and amiss < 0.5
    return _action(physics, rise * UP, 0.0, max(clear, 1 - amiss) * lean, closed=not down)


def _leave(physics: Physics) -> np.ndarray:
    """Open, back out the way the fingers point, up and upright, then wait."""
    hand, rotation = physics.hand_position(), physics.hand_rotation()
    fingers, (_, tilt, _) = rotation[:, 2], hand_angles(rotation)
    is_open = np.clip((physics.gripper_width() - 0.055) / 0.012, 0.0, 1.0)
    gap = float(np.linalg.norm(hand - physics.object_position()))
    out = np.clip((gap - 0.045) / 0.03, 0.0, 1.0)
    move = max(0.0, 0.08 - gap) * (0.5 * UP - fingers) + out * max(0.0, RETREAT_M - hand[2]) * UP
    return _action(physics, is_open * move, 0.0, -out * is_open * tilt, closed=False)


def hand_angles(rotation: np.ndarray) -> tuple[float, float, float]:
    """Heading, tilt and roll (rad) of a hand's rotation [3, 3]."""
    _, closing, fingers = rotation.T
    heading = math.atan2(closing[0], -closing[1])
    forward = fingers[0] * math.cos(heading) + fingers[1] * math.sin(heading)
    return heading, math.atan2(forward, -fingers[2]), -math.asin(min(1.0, max(-1.0, closing[2])))


def _amiss(across_m: float, turn_rad: float) -> float:
    """How far from aligned, in [0, 1]: 0 within 1 cm and 7 degrees, 1 some centimetres beyond."""
    turn = (abs(turn_rad) - np.deg2rad(7)) / np.deg2rad(25)
    return float(np.clip(max((across_m - 0.010) / 0.035, turn), 0.0, 1.0))


def _action(
    physics: Physics, move_m: np.ndarray, turn: float, lean: float, *, closed: bool
) -> np.ndarray:
    """A share of the way, in a straight line; ``turn`` and ``lean`` change heading and tilt."""
    heading, _, roll = hand_angles(physics.hand_rotation())
    c, s = math.cos(heading), math.sin(heading)
    vector = np.array([s * lean - c * roll, -c * lean - s * roll, turn])
    scale = controller.TILTING.scale
    move, rotate = GAIN * move_m / scale[:3], GAIN * vector / scale[3:6]
    move = move * min(1.0, FASTEST / max(float(np.abs(move).max()), 1e-9))
    rotate = rotate * min(1.0, FASTEST / max(float(np.abs(rotate).max()), 1e-9))
    return np.array([*move, *rotate, 1.0 if closed else -1.0], np.float32)
