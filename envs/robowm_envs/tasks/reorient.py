"""Turn it over: a bar that lies on its side is stood on end, the cap up, at a marked place."""

from __future__ import annotations

import math

import numpy as np
from dm_env import specs

from robowm_envs import controller
from robowm_envs.objects import CAPPED_BAR
from robowm_envs.physics import Physics
from robowm_envs.randomise import Draw
from robowm_envs.tasks import base
from robowm_envs.tasks.place import is_left, opening

_TARGET_Z_M = (0.04, 0.07)


class Reorient(base.Task):
    """Success: position within 2 cm, the cap up within 10 degrees, at rest on the table, gripper
    open and clear of it, for 0.5 s. How it is turned about the vertical does not matter."""

    name = "reorient"
    time_limit_steps = 140
    things = (CAPPED_BAR,)
    marker = "disc"
    actions = controller.TILTING

    def draw_start(self, draw: Draw, half_sizes: np.ndarray) -> base.Start:
        rng = draw.rng("pose")
        hand, hand_yaw = base.draw_hand(draw, rng)
        place, yaw = base.draw_place(draw, rng)  # lying, so wherever it is nothing is solved
        target, _ = base.draw_place(draw, rng)
        if not draw.is_drawn("pose"):
            place, yaw, target = np.array([0.46, -0.10]), 0.5, np.array([0.54, 0.10])
        goal = base.Goal(np.append(target, half_sizes[0, 0]))
        return base.Start(hand, hand_yaw, np.append(place, half_sizes[0, 2]), yaw, goal)

    def goal_spec(self) -> specs.BoundedArray:
        low = [*base.AREA_WIDE_LOW_M, _TARGET_Z_M[0]]
        high = [*base.AREA_WIDE_HIGH_M, _TARGET_Z_M[1]]
        return specs.BoundedArray((3,), np.float32, low, high, name="goal")

    def goal_observation(self, goal: base.Goal) -> np.ndarray:
        return goal.position

    def errors(self, physics: Physics, goal: base.Goal) -> tuple[float, float]:
        position = np.linalg.norm(physics.object_position() - goal.position)
        # Every yaw of the standing bar is a goal, so what is left of the rotation is the cap's lean.
        x, y, z = physics.object_axis().tolist()
        return float(position), math.atan2(math.hypot(x, y), z)

    def is_solved(self, physics: Physics, goal: base.Goal) -> bool:
        return is_left(physics, *self.errors(physics, goal))

    def reward(self, physics: Physics, goal: base.Goal) -> float:
        """Stages that add up to 1. What a stage paid while holding, ``placed`` pays after release."""
        position = physics.object_position()
        error, rotation = self.errors(physics, goal)
        across = float(np.linalg.norm(position[:2] - goal.position[:2]))
        height = max(0.0, physics.object_bottom())
        held = 0.5 * sum(physics.touches())
        aligned = base.near(across, 0.01, 0.05) * base.near(rotation, np.deg2rad(5), np.deg2rad(25))
        low, high = base.near(height, 0.005, 0.05), min(1.0, height / 0.03)
        carried = held * (aligned * low + (1 - aligned) * high)
        placed = base.near(error, 0.01, 0.03) * base.near(rotation, np.deg2rad(5), np.deg2rad(15))
        released = 0.5 * opening(physics) + 0.5 * (not physics.hand_touches_object())
        turned = base.near(rotation, np.deg2rad(5), 1.2)
        on_goal = 0.4 * base.near(across, 0.01, 0.3) + 0.6 * turned
        return float(
            0.15 * max(_hand_at_object(physics), placed)
            + 0.15 * max(held, placed)
            + 0.10 * max(carried, placed)
            + 0.35 * on_goal
            + 0.25 * placed * released
        )


def _hand_at_object(physics: Physics) -> float:
    """How near, in [0, 1], the open hand is to a grasp from which it can stand the bar up.

    Across the long axis, and leaning towards the cap: the hand turns about its closing axis by a
    right angle, and what it does not lean before that it would have to lie flat after it.
    """
    rotation, axis = physics.hand_rotation(), physics.object_axis()
    distance = float(np.linalg.norm(physics.hand_position() - physics.object_position()))
    askew = math.asin(min(1.0, abs(float(rotation[:, 1] @ axis))))
    towards = math.asin(min(1.0, max(-1.0, float(rotation[:, 2] @ axis))))
    fits = base.near(askew, 0.05, 0.8) * base.near(towards, 0.0, 0.8)
    return base.near(distance, 0.01, 0.3) * (0.6 + 0.4 * fits)
