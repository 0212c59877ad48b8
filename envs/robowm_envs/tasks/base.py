"""What a task is: where things start, what the goal is, when it is reached, what a step earns."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from dm_env import specs

from robowm_envs import controller, geometry
from robowm_envs.errors import EnvError
from robowm_envs.objects import Box
from robowm_envs.physics import Physics
from robowm_envs.randomise import Draw, Range
from robowm_envs.scene import WORKSPACE_HIGH_M, WORKSPACE_LOW_M

POSITION_TOLERANCE_M = 0.02
ROTATION_TOLERANCE_RAD = np.deg2rad(10.0)
HOLD_STEPS = 5  # 0.5 s
REST_SPEED_M_S = 0.02
REST_SPEED_RAD_S = 0.2

# Where things are laid to train on, and the frame around it that is the shift of group "pose".
AREA_LOW_M, AREA_HIGH_M = np.array([0.38, -0.18]), np.array([0.60, 0.18])
AREA_WIDE_LOW_M, AREA_WIDE_HIGH_M = np.array([0.34, -0.23]), np.array([0.64, 0.23])


@dataclasses.dataclass(frozen=True)
class Goal:
    """A pose to reach: position [3] (m, world) and yaw (rad). Tasks read what concerns them."""

    position: np.ndarray
    yaw: float = 0.0

    def of(self, i: int) -> Goal:
        """The goal of object ``i``."""
        assert i == 0, "this goal is the first object's"
        return self

    def to_vector(self) -> np.ndarray:
        return np.append(self.position, self.yaw)

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> Goal:
        return cls(vector[:3].copy(), float(vector[3]))


@dataclasses.dataclass(frozen=True)
class Start:
    """Where an episode begins: hand position [3] and yaw, object position [3] and yaw, goal; and
    position and yaw of each further object."""

    hand_position: np.ndarray
    hand_yaw: float
    object_position: np.ndarray | None
    object_yaw: float
    goal: Goal
    others: tuple[tuple[np.ndarray, float], ...] = ()


class Task(abc.ABC):
    """Pure functions of the physics and the goal; what must be remembered, the environment keeps."""

    name: str
    time_limit_steps: int
    things: tuple[Box, ...] = ()
    marker: str = "none"
    actions: controller.ActionSpace = controller.UPRIGHT
    ranges: ClassVar[Mapping[str, Range]] = {}
    goal_size = 4  # of its vector
    goal_rows = 1  # of its observation: as many as objects where each has one of its own
    # What must never happen, as a metric's name: the environment remembers whether it did.
    violation: str | None = None
    has_zone = False  # a box to keep out of, which only :meth:`constraints` tells of

    @property
    def yaw_order(self) -> int:
        """Of all its objects."""
        return self.things[0].yaw_order if self.things else 1

    # What the task is

    @abc.abstractmethod
    def draw_start(self, draw: Draw, half_sizes: np.ndarray) -> Start:
        """A start that does not already satisfy the goal, for objects of these half sizes [N, 3]."""

    @abc.abstractmethod
    def goal_spec(self) -> specs.BoundedArray: ...

    @abc.abstractmethod
    def goal_observation(self, goal: Goal) -> np.ndarray: ...

    def goal_from_vector(self, vector: np.ndarray) -> Goal:
        return Goal.from_vector(vector)

    def furnish(self, physics: Physics, goal: Goal) -> None:
        """Put into the scene what belongs to this goal beside its markers: here, nothing."""
        return

    # What is the case

    @abc.abstractmethod
    def errors(self, physics: Physics, goal: Goal) -> tuple[float, float]:
        """Position error (m) and rotation error (rad); the worst of all objects."""

    @abc.abstractmethod
    def is_solved(self, physics: Physics, goal: Goal) -> bool:
        """Whether this moment would count; success is this for 0.5 s."""

    def is_violated(self, physics: Physics, goal: Goal) -> bool:
        """Whether this moment is the :attr:`violation`, after which no success counts any more."""
        return False

    def mistaken(self, goal: Goal, rng: np.random.Generator) -> Goal | None:
        """Another goal that somebody might take this one for; None where there is none."""
        return None

    def constraints(self, physics: Physics, goal: Goal) -> dict[str, np.ndarray]:
        """What a planner is told beside the goal; see ``ManipulationEnv.constraints``."""
        return {}

    def is_lost(self, physics: Physics) -> bool:
        """Whether an object is off the table or out of reach."""
        for i in physics.objects:
            position = physics.object_position(i)
            beyond = np.maximum(
                position[:2] - WORKSPACE_HIGH_M[:2], WORKSPACE_LOW_M[:2] - position[:2]
            )
            if position[2] < -0.01 or beyond.max() > 0.05:
                return True
        return False

    def metrics(self, physics: Physics, goal: Goal) -> dict[str, float]:
        """What else is worth knowing of this task."""
        return {}

    # What it earns

    @abc.abstractmethod
    def reward(self, physics: Physics, goal: Goal) -> float:
        """In [0, 1]."""


def draw_place(draw: Draw, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """A position [2] on the table and a yaw; the middle of the area when poses are not drawn."""
    if draw.is_shifted("pose"):
        while True:
            place = rng.uniform(AREA_WIDE_LOW_M, AREA_WIDE_HIGH_M)
            if (place < AREA_LOW_M).any() or (place > AREA_HIGH_M).any():
                break
    else:
        place = rng.uniform(AREA_LOW_M, AREA_HIGH_M)
    return place, float(rng.uniform(-np.pi, np.pi))


def draw_hand(draw: Draw, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Where the hand starts, above the table; drawn even when poses are not, then discarded."""
    middle, spread = np.array([0.48, 0.0, 0.24]), np.array([0.05, 0.08, 0.03])
    position, yaw = rng.uniform(middle - spread, middle + spread), rng.uniform(-0.4, 0.4)
    return (position, float(yaw)) if draw.is_drawn("pose") else (middle, 0.0)


def near(error: float, tolerance: float, margin: float) -> float:
    """1 within the tolerance, falling to 0.1 at ``margin`` beyond it."""
    # dm_control's rewards.tolerance with its Gaussian, which takes ten times as long for one number.
    return 1.0 if error <= tolerance else float(0.1 ** (((error - tolerance) / margin) ** 2))


def hand_at_object(physics: Physics, i: int = 0) -> float:
    """How near, in [0, 1], the open hand is to a grasp across the object's short side."""
    distance = float(np.linalg.norm(physics.hand_position() - physics.object_position(i)))
    turn = abs(geometry.wrap(physics.hand_yaw() - physics.object_yaw(i), np.pi))
    return near(distance, 0.01, 0.3) * (0.6 + 0.4 * near(turn, 0.05, 0.8))


def first_unsolved(sample, is_fine, what: str):
    """Draw until fine; raises :class:`EnvError` rather than looping for ever."""
    for _ in range(1000):
        if is_fine(candidate := sample()):
            return candidate
    raise EnvError(
        f"no {what} could be drawn: the ranges leave no room; widen the area or the margins."
    )
