"""Move the hand to a point and hold it there."""

from __future__ import annotations

import numpy as np
from dm_env import specs

from robowm_envs.physics import Physics
from robowm_envs.randomise import Draw
from robowm_envs.tasks import base

_LOW_M, _HIGH_M = np.array([0.34, -0.22, 0.04]), np.array([0.64, 0.22, 0.28])
_INNER_LOW_M, _INNER_HIGH_M = np.array([0.38, -0.18, 0.04]), np.array([0.60, 0.18, 0.28])


class Reach(base.Task):
    """Success: the hand within 2 cm of the point and at rest, for 0.5 s."""

    name = "reach"
    time_limit_steps = 40
    marker = "ball"

    def draw_start(self, draw: Draw, half_sizes: np.ndarray) -> base.Start:
        rng = draw.rng("pose")
        hand, yaw = base.draw_hand(draw, rng)

        def sample() -> np.ndarray:
            if not draw.is_shifted("pose"):
                return rng.uniform(_INNER_LOW_M, _INNER_HIGH_M)
            while True:
                point = rng.uniform(_LOW_M, _HIGH_M)
                if (point < _INNER_LOW_M).any() or (point > _INNER_HIGH_M).any():
                    return point

        def is_far(point: np.ndarray) -> bool:
            return bool(np.linalg.norm(point - hand) > 0.08)

        point = base.first_unsolved(sample, is_far, "target point")
        if not draw.is_drawn("pose"):
            point = np.array([0.52, 0.10, 0.10])
        return base.Start(hand, yaw, None, 0.0, base.Goal(point))

    def goal_spec(self) -> specs.BoundedArray:
        return specs.BoundedArray((3,), np.float32, _LOW_M, _HIGH_M, name="goal")

    def goal_observation(self, goal: base.Goal) -> np.ndarray:
        return goal.position

    def errors(self, physics: Physics, goal: base.Goal) -> tuple[float, float]:
        return float(np.linalg.norm(physics.hand_position() - goal.position)), 0.0

    def is_solved(self, physics: Physics, goal: base.Goal) -> bool:
        error, _ = self.errors(physics, goal)
        speed = np.linalg.norm(physics.hand_velocity()[:3])
        return bool(error <= base.POSITION_TOLERANCE_M and speed <= base.REST_SPEED_M_S)

    def reward(self, physics: Physics, goal: base.Goal) -> float:
        error, _ = self.errors(physics, goal)
        return 0.7 * base.near(error, 0.01, 0.3) + 0.3 * base.near(error, 0.01, 0.04)
