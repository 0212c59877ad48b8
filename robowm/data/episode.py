"""One episode, in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robowm.errors import UserError
from robowm.spec import TaskSpec

Array = NDArray[Any]
Floats = NDArray[np.float32]
_MAY_BE_UNKNOWN = ("expert_actions", "rewards", "success", "privileged/")


@dataclasses.dataclass
class Episode:
    """T actions and the T+1 observations around them.

    ``actions[t]`` is taken at observation t and earns ``rewards[t]`` on arriving at observation
    t + 1. What nobody measured or labelled, as on a real arm, is NaN: expert actions, rewards, success,
    privileged arrays.

    Attributes:
      observations: by name, each [T+1, ...]; images uint8, vectors float32.
      actions: [T, A], as executed.
      expert_actions: [T, A], what the expert would have done at the same observation.
      rewards: [T].
      terminal: True where the world ended (cont = 0), False at a time limit or a chosen stop.
      success: [T+1] in {0, 1}, after each observation.
      privileged: by name, each [T+1, ...]: learning targets, never inputs.
      states: float64 [T+1, S], the simulator's full state; [T+1, 0] where there is none.
      info: plain data for JSON: ``seed``, ``split``, ``task`` and whatever else is known.
    """

    observations: dict[str, Array]
    actions: Floats
    expert_actions: Floats
    rewards: Floats
    terminal: bool
    success: Floats
    privileged: dict[str, Floats]
    states: NDArray[np.float64]
    info: dict[str, Any]

    def __len__(self) -> int:
        return len(self.actions)

    def check(self, spec: TaskSpec) -> None:
        """Raise :class:`UserError` where an array does not fit ``spec`` or holds what is no number."""
        steps = len(self)
        if steps == 0:
            raise UserError("an episode has no actions: record at least one step.")
        for name, array, shape, dtype in self._expected(spec, steps):
            if array is None:
                raise UserError(
                    f"an episode of {spec.task!r} lacks {name}: record it at each step."
                )
            if array.shape[: len(shape)] != shape or array.dtype != dtype:
                raise UserError(
                    f"{name} of an episode of {spec.task!r} is {array.dtype} {list(array.shape)}, "
                    f"expected {dtype} {list(shape)}: it belongs to another task or version."
                )
            bad = np.isinf if name.startswith(_MAY_BE_UNKNOWN) else _not_finite
            if array.dtype.kind == "f" and bad(array).any():
                raise UserError(
                    f"{name} of episode {self.info.get('seed')} is not finite: leave this episode out."
                )

    def _expected(
        self, spec: TaskSpec, steps: int
    ) -> Iterator[tuple[str, Array | None, tuple[int, ...], str]]:
        for prefix, arrays, specs in (
            ("observations", self.observations, spec.observation),
            ("privileged", self.privileged, spec.privileged),
        ):
            arrays_: Mapping[str, Array] = arrays
            for name, array in specs.items():
                shape = (steps + 1, *array.shape)
                yield f"{prefix}/{name}", arrays_.get(name), shape, array.dtype
        yield "actions", self.actions, (steps, spec.action.size), "float32"
        yield "expert_actions", self.expert_actions, (steps, spec.action.size), "float32"
        yield "rewards", self.rewards, (steps,), "float32"
        yield "success", self.success, (steps + 1,), "float32"
        yield "states", self.states, (steps + 1,), "float64"


def _not_finite(array: Array) -> NDArray[np.bool_]:
    return ~np.isfinite(array)
