"""Put the bar on another block, turned against it as told. Where the block is, nobody tells."""

from __future__ import annotations

import numpy as np
from dm_env import specs

from robowm_envs import geometry
from robowm_envs.objects import BAR, BASE
from robowm_envs.physics import Physics
from robowm_envs.randomise import Draw
from robowm_envs.tasks import base, place

OBJECT, BLOCK = 0, 1
GAP_M = 0.03  # between bar and block at the start: room for a finger


class Stack(base.Task):
    """Success: the bar's middle within 2 cm of where it would lie on the middle of the block, its
    rotation within 10 degrees of the wanted one relative to the block, up to symmetry; both at rest,
    the bar on the block alone and the block on the table, gripper open and clear, for 0.5 s.

    The goal's yaw is the bar's relative to the block; its position is unused, since the block may be
    anywhere, and where it was pushed to is as good.
    """

    name = "stack"
    time_limit_steps = 100
    things = (BAR, BASE)

    def draw_start(self, draw: Draw, half_sizes: np.ndarray) -> base.Start:
        rng = draw.rng("pose")
        hand, hand_yaw = base.draw_hand(draw, rng)
        bar, bar_yaw = base.draw_place(draw, rng)
        half = half_sizes[:, :2] + [GAP_M / 2, GAP_M / 2]

        def is_apart(block: tuple[np.ndarray, float]) -> bool:
            return geometry.gap_between((bar, bar_yaw), half[OBJECT], block, half[BLOCK]) > 0.0

        block, block_yaw = base.first_unsolved(
            lambda: base.draw_place(draw, rng), is_apart, "place for the block"
        )
        turn = float(rng.uniform(-np.pi / 2, np.pi / 2))
        if not draw.is_drawn("pose"):
            bar, bar_yaw = np.array([0.46, -0.10]), 0.5
            block, block_yaw, turn = np.array([0.54, 0.10]), 1.2, 0.4
        goal = base.Goal(np.zeros(3), turn)
        others = ((np.append(block, half_sizes[BLOCK, 2] + BASE.margin_m), block_yaw),)
        return base.Start(
            hand, hand_yaw, np.append(bar, half_sizes[OBJECT, 2]), bar_yaw, goal, others
        )

    def goal_spec(self) -> specs.BoundedArray:
        return specs.BoundedArray((2,), np.float32, -1.0, 1.0, name="goal")

    def goal_observation(self, goal: base.Goal) -> np.ndarray:
        turn = self.yaw_order * goal.yaw
        return np.array([np.sin(turn), np.cos(turn)])

    def target(self, physics: Physics, goal: base.Goal) -> base.Goal:
        """Where the bar belongs, as the block lies now."""
        up = sum(physics.object_half_size(i)[2] for i in (OBJECT, BLOCK)) + BASE.margin_m
        rotation = physics.object_rotation(BLOCK)
        position = physics.object_position(BLOCK) + up * rotation[:, 2]
        return base.Goal(position, geometry.yaw_of(rotation) + goal.yaw)

    def errors(self, physics: Physics, goal: base.Goal) -> tuple[float, float]:
        return place.errors(physics, self.target(physics, goal), self.things[OBJECT], OBJECT)

    def is_solved(self, physics: Physics, goal: base.Goal) -> bool:
        return (
            place.fits(*self.errors(physics, goal))
            and physics.objects_touch(OBJECT, BLOCK)
            and not physics.object_on_table(OBJECT)
            and physics.object_on_table(BLOCK)
            and all(
                place.is_at_rest(physics, i) and place.is_released(physics, i)
                for i in (OBJECT, BLOCK)
            )
        )

    def reward(self, physics: Physics, goal: base.Goal) -> float:
        target, step = self.target(physics, goal), 2 * physics.object_half_size(BLOCK)[2]
        off = place.errors(physics, target, self.things[OBJECT], OBJECT)
        return place.reward(physics, target, off, OBJECT, step_m=float(step))
