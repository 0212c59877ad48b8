"""Lift the bar to a height and hold it there."""

from __future__ import annotations

import numpy as np
from dm_env import specs

from robowm_envs.objects import BAR
from robowm_envs.physics import Physics
from robowm_envs.randomise import Draw
from robowm_envs.tasks import base

HEIGHT_LOW_M, HEIGHT_HIGH_M = 0.10, 0.22


class Grasp(base.Task):
    """Success: the bar's middle within 2 cm of the height, in the grasp of both fingers and at rest
    in the hand, for 0.5 s."""

    name = "grasp"
    time_limit_steps = 50
    things = (BAR,)

    def draw_start(self, draw: Draw, half_sizes: np.ndarray) -> base.Start:
        rng = draw.rng("pose")
        hand, hand_yaw = base.draw_hand(draw, rng)
        place, yaw = base.draw_place(draw, rng)
        height = float(rng.uniform(HEIGHT_LOW_M, HEIGHT_HIGH_M))
        if not draw.is_drawn("pose"):
            place, yaw, height = np.array([0.50, 0.0]), 0.5, 0.15
        goal = base.Goal(np.array([0.0, 0.0, height]))
        return base.Start(hand, hand_yaw, np.append(place, half_sizes[0, 2]), yaw, goal)

    def goal_spec(self) -> specs.BoundedArray:
        return specs.BoundedArray((1,), np.float32, HEIGHT_LOW_M, HEIGHT_HIGH_M, name="goal")

    def goal_observation(self, goal: base.Goal) -> np.ndarray:
        return goal.position[2:]

    def errors(self, physics: Physics, goal: base.Goal) -> tuple[float, float]:
        return float(abs(physics.object_position()[2] - goal.position[2])), 0.0

    def is_solved(self, physics: Physics, goal: base.Goal) -> bool:
        error, _ = self.errors(physics, goal)
        return bool(
            error <= base.POSITION_TOLERANCE_M
            and physics.grasped()
            and physics.slip_speed() <= base.REST_SPEED_M_S
            and np.linalg.norm(physics.object_velocity()[:3]) <= base.REST_SPEED_M_S
        )

    def reward(self, physics: Physics, goal: base.Goal) -> float:
        error, _ = self.errors(physics, goal)
        held = physics.grasped()
        finger = 0.5 * sum(physics.touches())
        lift = base.near(error, 0.01, 0.15) if held else 0.0
        return 0.3 * base.hand_at_object(physics) + 0.2 * finger + 0.5 * lift
