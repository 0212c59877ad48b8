"""The core task with a box in the way that neither the hand nor the bar may enter."""

from __future__ import annotations

import dataclasses

import numpy as np

from robowm_envs import geometry
from robowm_envs.arms.panda import HAND_BALLS, WIDTH_MAX_M
from robowm_envs.arms.protocol import opened
from robowm_envs.physics import Physics
from robowm_envs.randomise import Draw
from robowm_envs.tasks import base
from robowm_envs.tasks.place import GraspRotatePlace

OPEN_HAND = opened(HAND_BALLS, WIDTH_MAX_M)
HALF_EDGE_M = (0.02, 0.04)
HEIGHT_M = (0.10, 0.16)
CLEAR_M = 0.03  # of the zone, at least, for the hand where it takes the bar and where it leaves it


@dataclasses.dataclass(frozen=True)
class Zone:
    """A box that stands on the table: centre [3] (m), half edges [3] (m), yaw (rad)."""

    centre: np.ndarray
    half_size: np.ndarray
    yaw: float

    def to_vector(self) -> np.ndarray:
        return np.array([*self.centre, *self.half_size, self.yaw])

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> Zone:
        return cls(vector[:3].copy(), vector[3:6].copy(), float(vector[6]))

    def gap(self, position: np.ndarray, rotation: np.ndarray, balls: np.ndarray) -> float:
        """m between its surface and a body at that pose that ``balls`` [N, 4] (centre, radius in
        the body's frame) cover; below 0 where they overlap."""
        centres = balls[:, :3] @ rotation.T + position
        beyond = np.abs((centres - self.centre) @ geometry.about_z(self.yaw)) - self.half_size
        outside = np.linalg.norm(np.maximum(beyond, 0.0), axis=1)
        return float((outside + np.minimum(beyond.max(1), 0.0) - balls[:, 3]).min())


@dataclasses.dataclass(frozen=True)
class GoalBeyond(base.Goal):
    """A goal, and the zone on the way to it."""

    zone: Zone = dataclasses.field(kw_only=True)

    def to_vector(self) -> np.ndarray:
        return np.append(super().to_vector(), self.zone.to_vector())


class KeepOut(GraspRotatePlace):
    """Success: that of the core task, and neither hand nor bar was ever in the zone.

    The zone is in no observation: whoever plans is told of it (``env.constraints()``), and a policy
    that was cloned without it has no way to know. It stops nothing; it is there to be kept out of.
    """

    name = "keep_out"
    time_limit_steps = 100
    goal_size = 11
    violation = "entered"
    has_zone = True

    def draw_start(self, draw: Draw, half_sizes: np.ndarray) -> base.Start:
        rng = draw.rng("pose")

        def sample() -> base.Start:
            start = self._draw(draw, rng, half_sizes)
            assert start.object_position is not None
            a, b = start.object_position, start.goal.position
            share = rng.uniform(0.4, 0.6)
            across = np.array([a[1] - b[1], b[0] - a[0]]) / max(np.linalg.norm(b[:2] - a[:2]), 1e-6)
            place = a[:2] + share * (b[:2] - a[:2]) + rng.uniform(-0.015, 0.015) * across
            half = np.append(rng.uniform(*HALF_EDGE_M, 2), rng.uniform(*HEIGHT_M) / 2)
            zone = Zone(np.append(place, half[2]), half, float(rng.uniform(0, np.pi)))
            goal = GoalBeyond(start.goal.position, start.goal.yaw, zone=zone)
            return dataclasses.replace(start, goal=goal)

        def is_free(start: base.Start) -> bool:
            goal = start.goal
            assert start.object_position is not None and isinstance(goal, GoalBeyond)
            grasps = (
                (start.object_position, start.object_yaw),
                (goal.position, goal.yaw),
            )
            bar = balls_along(half_sizes[0])
            return (
                all(
                    goal.zone.gap(place, geometry.pointing_down(yaw), OPEN_HAND) > CLEAR_M
                    and goal.zone.gap(place, geometry.about_z(yaw), bar) > CLEAR_M
                    for place, yaw in grasps
                )
                and goal.zone.gap(
                    start.hand_position, geometry.pointing_down(start.hand_yaw), OPEN_HAND
                )
                > CLEAR_M
            )

        return base.first_unsolved(sample, is_free, "zone")

    def goal_from_vector(self, vector: np.ndarray) -> base.Goal:
        goal = base.Goal.from_vector(vector[:4])
        return GoalBeyond(goal.position, goal.yaw, zone=Zone.from_vector(vector[4:]))

    def furnish(self, physics: Physics, goal: base.Goal) -> None:
        assert isinstance(goal, GoalBeyond)
        physics.place_zone(goal.zone.centre, goal.zone.half_size, goal.zone.yaw)

    def is_violated(self, physics: Physics, goal: base.Goal) -> bool:
        return physics.zone_is_entered()

    def constraints(self, physics: Physics, goal: base.Goal) -> dict[str, np.ndarray]:
        assert isinstance(goal, GoalBeyond)
        return {
            "keep_out": goal.zone.to_vector()[None],
            "hand_balls": physics.scene.arm.hand_balls,
            "object_balls": balls_along(physics.object_half_size()),
        }


def balls_along(half_size: np.ndarray) -> np.ndarray:
    """Balls [N, 4] that cover a bar, in its frame: centre (m) and radius (m)."""
    radius = float(np.hypot(half_size[1], half_size[2]))
    count = int(np.ceil(half_size[0] / radius)) + 1
    reach = half_size[0] - half_size[1]
    return np.array([[x, 0.0, 0.0, radius] for x in np.linspace(-reach, reach, count)])
