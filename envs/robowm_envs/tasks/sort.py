"""Put three bars where each belongs, in the order told."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from dm_env import specs

from robowm_envs import geometry
from robowm_envs.objects import SMALL_BARS
from robowm_envs.physics import Physics
from robowm_envs.randomise import Draw
from robowm_envs.tasks import base, place

FINGERS_HALF_M = 0.072  # across a grasped bar: how far fingers that open beside it reach
LIFTED_M = 0.02
_TARGET_Z_M = (0.010, 0.025)


@dataclasses.dataclass(frozen=True)
class Places(base.Goal):
    """A pose for each object, and the order in which to lay them there, as numbers of objects."""

    others: tuple[base.Goal, ...] = ()
    order: tuple[int, ...] = ()

    def of(self, i: int) -> base.Goal:
        return self.others[i - 1] if i else base.Goal(self.position, self.yaw)

    def to_vector(self) -> np.ndarray:
        poses = [self.of(i).to_vector() for i in range(len(self.order))]
        return np.concatenate([*poses, self.order])

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> Places:
        n = len(vector) // 5
        first, *others = (base.Goal.from_vector(pose) for pose in vector[: 4 * n].reshape(n, 4))
        return cls(first.position, first.yaw, tuple(others), tuple(map(int, vector[4 * n :])))


class Sort(base.Task):
    """Success: every bar within 2 cm and 10 degrees of its own goal, at rest on the table, gripper
    open and clear of all, for 0.5 s; and the order was kept: none was lifted while one that comes
    before it did not lie at its goal.
    """

    name = "sort"
    time_limit_steps = 240
    things = SMALL_BARS
    marker = "bars"
    goal_size = 5 * len(SMALL_BARS)
    goal_rows = len(SMALL_BARS)
    violation = "out_of_order"

    def draw_start(self, draw: Draw, half_sizes: np.ndarray) -> base.Start:
        """Starts and goals lie so far apart that each bar can be grasped beside all others."""
        rng, n = draw.rng("pose"), len(half_sizes)
        hand, hand_yaw = base.draw_hand(draw, rng)
        half = half_sizes[0, :2]
        poses = base.first_unsolved(
            lambda: _spread(2 * n, half, lambda: base.draw_place(draw, rng)),
            lambda poses: len(poses) == 2 * n,
            "layout",
        )
        order = rng.permutation(n)
        if not draw.is_drawn("pose"):
            xs, ys = (0.42, 0.56), (-0.14, 0.0, 0.14)
            poses = [(np.array([x, y]), 0.3 + x + 2 * y) for x in xs for y in ys]
            order = np.arange(n)
        poses = [(np.append(position, half_sizes[0, 2]), yaw) for position, yaw in poses]
        (first, yaw), *others = poses[:n]
        goals = [base.Goal(*pose) for pose in poses[n:]]
        goal = Places(goals[0].position, goals[0].yaw, tuple(goals[1:]), tuple(map(int, order)))
        return base.Start(hand, hand_yaw, first, yaw, goal, tuple(others))

    def goal_spec(self) -> specs.BoundedArray:
        n = len(self.things)
        low = [*base.AREA_WIDE_LOW_M, _TARGET_Z_M[0], -1.0, -1.0, 0.0] * n
        high = [*base.AREA_WIDE_HIGH_M, _TARGET_Z_M[1], 1.0, 1.0, n - 1.0] * n
        return specs.BoundedArray((6 * n,), np.float32, low, high, name="goal")

    def goal_observation(self, goal: base.Goal) -> np.ndarray:
        """[6 N] for each object position, sin and cos of its turn, rank: how many come before it."""
        assert isinstance(goal, Places)
        seen = []
        for i in range(len(self.things)):
            own = goal.of(i)
            turn = self.yaw_order * own.yaw
            seen += [*own.position, np.sin(turn), np.cos(turn), goal.order.index(i)]
        return np.array(seen)

    def goal_from_vector(self, vector: np.ndarray) -> Places:
        return Places.from_vector(vector)

    def errors(self, physics: Physics, goal: base.Goal) -> tuple[float, float]:
        positions, rotations = zip(
            *(self.errors_of(i, physics, goal) for i in physics.objects), strict=True
        )
        return max(positions), max(rotations)

    def errors_of(self, i: int, physics: Physics, goal: base.Goal) -> tuple[float, float]:
        return place.errors(physics, goal.of(i), self.things[i], i)

    def is_placed(self, i: int, physics: Physics, goal: base.Goal) -> bool:
        """Whether the bar lies at its goal, held or not."""
        return physics.object_on_table(i) and place.fits(*self.errors_of(i, physics, goal))

    def is_solved(self, physics: Physics, goal: base.Goal) -> bool:
        return all(
            self.is_placed(i, physics, goal)
            and place.is_at_rest(physics, i)
            and place.is_released(physics, i)
            for i in physics.objects
        )

    def is_violated(self, physics: Physics, goal: base.Goal) -> bool:
        assert isinstance(goal, Places)
        waits = False  # whether one that comes before is not at its goal
        for i in goal.order:
            bottom = physics.object_position(i)[2] - physics.object_half_size(i)[2]
            if waits and bottom > LIFTED_M and physics.hand_touches_object(i):
                return True
            waits = waits or not self.is_placed(i, physics, goal)
        return False

    def mistaken(self, goal: base.Goal, rng: np.random.Generator) -> Places:
        """The same places in another order, in which none has the rank that it should have."""
        assert isinstance(goal, Places)
        by = int(rng.integers(1, len(goal.order)))
        return dataclasses.replace(goal, order=goal.order[by:] + goal.order[:by])

    def metrics(self, physics: Physics, goal: base.Goal) -> dict[str, float]:
        """``placed``: the share of bars that lie at their goals."""
        return {
            "placed": float(np.mean([self.is_placed(i, physics, goal) for i in physics.objects]))
        }

    def reward(self, physics: Physics, goal: base.Goal) -> float:
        """A third for each bar, as far as those before it lie at their goals."""
        assert isinstance(goal, Places)
        total, share, last = 0.0, 1.0, goal.order[-1]
        for i in goal.order:
            off = self.errors_of(i, physics, goal)
            is_open = place.opening(physics)
            if i != last:  # the hand that has gone on may close on the next one
                away = np.linalg.norm(physics.hand_position() - physics.object_position(i))
                is_open = max(is_open, float(np.clip((away - 0.03) / 0.05, 0.0, 1.0)))
            total += share * place.reward(physics, goal.of(i), off, i, is_open=is_open)
            share *= base.near(off[0], 0.015, 0.01) * base.near(
                off[1], np.deg2rad(8), np.deg2rad(6)
            )
        return total / len(goal.order)


def _spread(
    n: int, half: np.ndarray, draw_place: Callable[[], tuple[np.ndarray, float]]
) -> list[tuple[np.ndarray, float]]:
    """Up to ``n`` poses, each of which leaves room for the fingers at all others."""
    poses: list[tuple[np.ndarray, float]] = []
    grasp = np.array([half[0], FINGERS_HALF_M])
    for _ in range(12 * n):
        one = draw_place()
        if all(
            geometry.gap_between(one, grasp, other, half) > 0.0
            and geometry.gap_between(one, half, other, grasp) > 0.0
            for other in poses
        ):
            poses.append(one)
        if len(poses) == n:
            break
    return poses
