"""The core: grasp the bar wherever it lies, turn it, put it down in another pose, let go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from dm_env import specs

from robowm_envs import geometry
from robowm_envs.objects import BAR, Box
from robowm_envs.physics import Physics
from robowm_envs.randomise import Draw, Range
from robowm_envs.tasks import base

MIN_DISTANCE_M = 0.08
MIN_TURN_RAD = np.deg2rad(30.0)
OPEN_WIDTH_M = 0.065
_TARGET_Z_M = (0.015, 0.035)


class GraspRotatePlace(base.Task):
    """Success: position within 2 cm, rotation within 10 degrees up to the bar's symmetry, at rest
    on the table, gripper open and clear of it, for 0.5 s."""

    name = "grasp_rotate_place"
    time_limit_steps = 80
    things = (BAR,)
    marker = "bar"

    def draw_start(self, draw: Draw, half_sizes: np.ndarray) -> base.Start:
        return self._draw(draw, draw.rng("pose"), half_sizes)

    def _draw(self, draw: Draw, rng: np.random.Generator, half_sizes: np.ndarray) -> base.Start:
        hand, hand_yaw = base.draw_hand(draw, rng)
        place, yaw = base.draw_place(draw, rng)

        def is_far(target: tuple[np.ndarray, float]) -> bool:
            turn = abs(geometry.wrap(target[1] - yaw, np.pi))
            return bool(np.linalg.norm(target[0] - place) >= MIN_DISTANCE_M or turn >= MIN_TURN_RAD)

        target, target_yaw = base.first_unsolved(
            lambda: base.draw_place(draw, rng), is_far, "target"
        )
        if not draw.is_drawn("pose"):
            place, yaw = np.array([0.46, -0.10]), 0.5
            target, target_yaw = np.array([0.54, 0.10]), 1.6
        goal = base.Goal(np.append(target, half_sizes[0, 2]), target_yaw)
        return base.Start(hand, hand_yaw, np.append(place, half_sizes[0, 2]), yaw, goal)

    def goal_spec(self) -> specs.BoundedArray:
        low = [*base.AREA_WIDE_LOW_M, _TARGET_Z_M[0], -1.0, -1.0]
        high = [*base.AREA_WIDE_HIGH_M, _TARGET_Z_M[1], 1.0, 1.0]
        return specs.BoundedArray((5,), np.float32, low, high, name="goal")

    def goal_observation(self, goal: base.Goal) -> np.ndarray:
        turn = self.yaw_order * goal.yaw
        return np.append(goal.position, [np.sin(turn), np.cos(turn)])

    def errors(self, physics: Physics, goal: base.Goal) -> tuple[float, float]:
        return errors(physics, goal, self.things[0])

    def is_solved(self, physics: Physics, goal: base.Goal) -> bool:
        return is_left(physics, *self.errors(physics, goal))

    def reward(self, physics: Physics, goal: base.Goal) -> float:
        return reward(physics, goal, self.errors(physics, goal))


def errors(physics: Physics, goal: base.Goal, thing: Box, i: int = 0) -> tuple[float, float]:
    """Of object ``i``, a ``thing``, from its own goal: m, and rad up to its symmetry."""
    position = np.linalg.norm(physics.object_position(i) - goal.position)
    target = geometry.about_z(goal.yaw)
    rotation = geometry.rotation_error(physics.object_rotation(i), target, thing.symmetries)
    return float(position), rotation


def is_left(physics: Physics, position: float, rotation: float) -> bool:
    """Lies where it belongs, at rest, on the table, and nobody holds it."""
    return (
        fits(position, rotation)
        and is_at_rest(physics)
        and physics.object_on_table()
        and is_released(physics)
    )


def fits(position: float, rotation: float) -> bool:
    return position <= base.POSITION_TOLERANCE_M and rotation <= base.ROTATION_TOLERANCE_RAD


def is_at_rest(physics: Physics, i: int = 0) -> bool:
    velocity = physics.object_velocity(i)
    return bool(
        np.linalg.norm(velocity[:3]) <= base.REST_SPEED_M_S
        and np.linalg.norm(velocity[3:]) <= base.REST_SPEED_RAD_S
    )


def is_released(physics: Physics, i: int = 0) -> bool:
    return physics.gripper_width() >= OPEN_WIDTH_M and not physics.hand_touches_object(i)


def opening(physics: Physics) -> float:
    """How far open the gripper is, in [0, 1]; 1 is as far as success asks for."""
    return float(np.clip((physics.gripper_width() - 0.04) / (OPEN_WIDTH_M - 0.04), 0, 1))


def reward(
    physics: Physics,
    goal: base.Goal,
    off: tuple[float, float],
    i: int = 0,
    *,
    step_m: float = 0.0,
    is_open: float | None = None,
) -> float:
    """In [0, 1], for putting object ``i`` at ``goal``: stages that add up to 1.

    What a stage paid while holding, ``placed`` pays after release.

    Args:
      off: its errors, m and rad.
      step_m: how much higher it shall lie than it lay.
      is_open: how far the gripper counts as open, in [0, 1]; its :func:`opening` unless said.
    """
    position = physics.object_position(i)
    error, rotation = off
    across = float(np.linalg.norm(position[:2] - goal.position[:2]))
    above = position[2] - goal.position[2]
    held = 0.5 * sum(physics.touches(i))
    aligned = base.near(across, 0.01, 0.05) * base.near(rotation, np.deg2rad(5), np.deg2rad(25))
    low = base.near(max(0.0, above), 0.005, 0.05)
    high = min(1.0, max(0.0, above + step_m) / (0.05 + step_m))
    carried = held * (aligned * low + (1 - aligned) * high)
    placed = base.near(error, 0.01, 0.03) * base.near(rotation, np.deg2rad(5), np.deg2rad(15))
    released = 0.5 * (opening(physics) if is_open is None else is_open)
    released += 0.5 * (not physics.hand_touches_object(i))
    turned = base.near(rotation, np.deg2rad(5), 1.2)
    on_goal = base.near(across, 0.01, 0.3) * (0.4 + 0.6 * turned)
    return float(
        0.15 * max(base.hand_at_object(physics, i), placed)
        + 0.15 * max(held, placed)
        + 0.10 * max(carried, placed)
        + 0.35 * on_goal
        + 0.25 * placed * released
    )


class Slip(GraspRotatePlace):
    """The same with little friction and twice the weight, off the middle: lifted by its middle the
    bar turns in the grasp, by some 15 degrees, and the table must turn it back."""

    name = "slip"
    ranges: ClassVar[Mapping[str, Range]] = {
        "friction": Range(0.30, train=((0.26, 0.34),), shift=((0.18, 0.22),)),
        "mass_scale": Range(2.0, train=((1.7, 2.3),), shift=((1.2, 1.5), (2.4, 2.6))),
        "com_offset_m": Range(
            0.034,
            train=((-0.038, -0.030), (0.030, 0.038)),
            shift=((-0.044, -0.040), (0.040, 0.044)),
        ),
    }
