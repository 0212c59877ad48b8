"""What a task shows and takes: names, shapes, units, bounds, normalisation.

A :class:`TaskSpec` is all that robowm knows of an environment or of an arm. It is pure data, travels
as JSON inside datasets and checkpoints, and is read from any ``dm_env`` environment.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from robowm.errors import UserError

PROPRIO, GOAL = "proprio", "goal"  # observations
# Of the first object, which errors are told of.
POSITION, YAW, ROTATION = "object_position", "object_yaw", "object_rotation"
POSE_SUFFIXES = ("_position", "_yaw", "_rotation")


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """One named array of an observation.

    Attributes:
      shape: without batch or time.
      dtype: NumPy name, ``"uint8"`` for images, ``"float32"`` for vectors.
      low, high: bounds, one number for each element in C order; images have 0 and 255.
      unit: SI unit or "" where there is none or several.
    """

    shape: tuple[int, ...]
    dtype: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    unit: str = ""

    @property
    def is_image(self) -> bool:
        return self.dtype == "uint8" and len(self.shape) == 3

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    def centre_and_half(self) -> tuple[np.ndarray, np.ndarray]:
        """Affine normalisation: ``(x - centre) / half`` lies in [-1, 1] inside the bounds."""
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
        centre = np.where(bounded, (low + high) / 2, 0.0).astype(np.float32)
        half = np.where(bounded, (high - low) / 2, 1.0).astype(np.float32)
        return centre.reshape(self.shape), half.reshape(self.shape)

    @classmethod
    def from_dm_env(cls, spec: Any) -> ArraySpec:
        shape = tuple(int(n) for n in spec.shape)
        is_image = np.dtype(spec.dtype) == np.uint8 and len(shape) == 3
        if is_image:
            return cls(shape, "uint8", (0.0,), (255.0,))
        low = np.broadcast_to(getattr(spec, "minimum", -np.inf), shape).ravel()
        high = np.broadcast_to(getattr(spec, "maximum", np.inf), shape).ravel()
        return cls(shape, "float32", tuple(map(float, low)), tuple(map(float, high)))


@dataclasses.dataclass(frozen=True)
class ActionSpec:
    """Actions in [-1, 1]^A.

    Attributes:
      names: one for each dimension, with its unit as suffix (``dx_m``, ``dyaw_rad``, ``gripper``).
      scale: physical size of 1.0 in each dimension, a control step long.
      switch: True where a dimension is on (> 0) or off, such as the gripper.
    """

    names: tuple[str, ...]
    scale: tuple[float, ...]
    switch: tuple[bool, ...]

    @property
    def size(self) -> int:
        return len(self.names)

    def validate(self, action: Any) -> np.ndarray:
        """The action as float32 [A]; raises :class:`UserError` on a wrong shape, NaN or excess."""
        array = np.asarray(action, dtype=np.float32)
        if array.shape != (self.size,):
            raise UserError(
                f"an action has shape {array.shape}, expected ({self.size},): {', '.join(self.names)}."
            )
        if not np.isfinite(array).all():
            bad = [n for n, ok in zip(self.names, np.isfinite(array), strict=True) if not ok]
            raise UserError(
                f"an action is not finite in {', '.join(bad)}: expected numbers in [-1, 1]."
            )
        if np.abs(array).max() > 1 + 1e-6:
            raise UserError(f"an action leaves [-1, 1]: {array.tolist()}; scale it before sending.")
        return array


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """Everything robowm needs to know of a task.

    Attributes:
      task: name.
      observation: what an agent sees at run time.
      action: what it sends.
      privileged: learning targets known in simulation only; never an input at run time.
      yaw_order: order k of the objects' symmetry about the vertical; ``object_yaw``, and the yaw
        of every other object, is (sin k yaw, cos k yaw). An object whose ends differ has
        ``object_rotation`` instead, the direction [3] of its long axis.
      control_dt_s: seconds between actions.
      time_limit_steps: actions in an episode.
      goal_rows: as many as objects where ``goal`` has a row for each of them, else 1. A row of 3 or
        more begins with a position; a turn (sine, cosine) follows it, or stands alone.
      hand_in_proprio: where in ``proprio`` the hand's position (3) and the x and y axes of its frame
        (6) begin; None where it is not told.
    """

    task: str
    observation: Mapping[str, ArraySpec]
    action: ActionSpec
    privileged: Mapping[str, ArraySpec]
    yaw_order: int
    control_dt_s: float
    time_limit_steps: int
    goal_rows: int = 1
    hand_in_proprio: int | None = None

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(name for name, spec in self.observation.items() if spec.is_image)

    @property
    def vectors(self) -> tuple[str, ...]:
        return tuple(name for name, spec in self.observation.items() if not spec.is_image)

    @property
    def pose_keys(self) -> tuple[str, ...]:
        """Privileged arrays that form the poses of all objects, in slot order."""
        return tuple(name for name in self.privileged if name.endswith(POSE_SUFFIXES))

    @property
    def pose_slices(self) -> dict[str, slice]:
        """Where in the slot each of :attr:`pose_keys` stands."""
        ends = list(itertools.accumulate(self.privileged[key].size for key in self.pose_keys))
        return {
            key: slice(end - self.privileged[key].size, end)
            for key, end in zip(self.pose_keys, ends, strict=True)
        }

    @classmethod
    def from_env(cls, env: Any) -> TaskSpec:
        """Read from a ``dm_env.Environment`` with the additions that robowm_envs documents."""
        action = env.action_spec()
        names = tuple(action.name.split("\t"))
        if len(names) != action.shape[0]:
            names = tuple(f"a{i}" for i in range(action.shape[0]))
        scale = getattr(env, "action_scale", np.ones(len(names)))
        privileged = env.privileged_spec() if hasattr(env, "privileged_spec") else {}
        return cls(
            task=getattr(env, "name", type(env).__name__),
            observation={k: ArraySpec.from_dm_env(v) for k, v in env.observation_spec().items()},
            action=ActionSpec(
                names, tuple(map(float, scale)), tuple(name.startswith("gripper") for name in names)
            ),
            privileged={k: ArraySpec.from_dm_env(v) for k, v in privileged.items()},
            yaw_order=int(getattr(env, "yaw_order", 1)),
            control_dt_s=float(getattr(env, "control_dt_s", 0.1)),
            time_limit_steps=int(getattr(env, "time_limit_steps", 1000)),
            goal_rows=int(getattr(env, "goal_rows", 1)),
            hand_in_proprio=getattr(env, "hand_in_proprio", None),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; infinities become strings, so that the JSON is standard."""

        def plain(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {k: plain(v) for k, v in value.items()}
            if isinstance(value, (tuple, list)):
                return [plain(v) for v in value]
            if isinstance(value, float) and not np.isfinite(value):
                return str(value)
            return value

        return plain(
            {
                **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)},
                "observation": {k: dataclasses.asdict(v) for k, v in self.observation.items()},
                "privileged": {k: dataclasses.asdict(v) for k, v in self.privileged.items()},
                "action": dataclasses.asdict(self.action),
            }
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskSpec:
        def array(d: Mapping[str, Any]) -> ArraySpec:
            return ArraySpec(
                shape=tuple(d["shape"]),
                dtype=d["dtype"],
                low=tuple(map(float, d["low"])),
                high=tuple(map(float, d["high"])),
                unit=d.get("unit", ""),
            )

        try:
            return cls(
                task=data["task"],
                observation={k: array(v) for k, v in data["observation"].items()},
                action=ActionSpec(**{k: tuple(v) for k, v in data["action"].items()}),
                privileged={k: array(v) for k, v in data["privileged"].items()},
                yaw_order=int(data["yaw_order"]),
                control_dt_s=float(data["control_dt_s"]),
                time_limit_steps=int(data["time_limit_steps"]),
                goal_rows=int(data.get("goal_rows", 1)),  # neither was told at first
                hand_in_proprio=data.get("hand_in_proprio"),
            )
        except (KeyError, TypeError) as error:
            raise UserError(
                f"a task specification is incomplete ({error}): it was written by another version; "
                "collect the data or train the checkpoint again."
            ) from error

    def showing(self, images: Collection[str]) -> TaskSpec:
        """The same without the pictures that are not among ``images``."""
        kept = {k: v for k, v in self.observation.items() if not v.is_image or k in images}
        return dataclasses.replace(self, observation=kept)

    def looks_like(self, other: TaskSpec) -> bool:
        """Whether both show and take the same arrays within the same bounds, whatever they ask for."""
        return self == dataclasses.replace(
            other, task=self.task, time_limit_steps=self.time_limit_steps
        )

    def check_same(self, other: TaskSpec, what: str) -> None:
        """Raise where data, model and environment do not speak of the same arrays."""
        for room in ("observation", "privileged"):
            mine, theirs = getattr(self, room), getattr(other, room)
            for name in sorted(set(mine) | set(theirs)):
                a, b = mine.get(name), theirs.get(name)
                if a is None or b is None or a.shape != b.shape:
                    raise UserError(
                        f"{what} does not fit: {room} {name!r} has shape {b and b.shape}, expected "
                        f"{a and a.shape}; use the task and observation mode that it was made with."
                    )
        if self.action.names != other.action.names:
            raise UserError(
                f"{what} does not fit: its actions are {', '.join(other.action.names)}, expected "
                f"{', '.join(self.action.names)}."
            )
