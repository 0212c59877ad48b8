"""When a planned action is done: control steps on the observation's clock, and plans joined to them.

Planning takes time, so a plan is for steps that lie ahead of the observation that it was made from, and
where it comes later than that, its first actions are past. Every action takes one whole step: what was
done in a step is one action, and the agent can be told which.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

NEAR = 1e-6  # of a step: rounding


@dataclasses.dataclass(frozen=True)
class Grid:
    """Step k begins at ``origin_s + k * step_s``."""

    origin_s: float
    step_s: float

    def start_s(self, step: int) -> float:
        return self.origin_s + step * self.step_s

    def at(self, time_s: float) -> int:
        """The step that ``time_s`` lies in."""
        return math.floor((time_s - self.origin_s) / self.step_s + NEAR)

    def next(self, time_s: float) -> int:
        """The first step that begins at ``time_s`` or after it."""
        return math.ceil((time_s - self.origin_s) / self.step_s - NEAR)


def join(grid: Grid, meant_for: int, ready_s: float) -> tuple[int, int]:
    """Where a plan whose first action is for step ``meant_for`` takes over from what is followed.

    Args:
      ready_s: before which nothing new can be followed: the plan has just come, and has yet to be sent.

    Returns:
      The step, and the number of the plan's action that is for it; those before it are past.
    """
    step = max(meant_for, grid.next(ready_s))
    return step, step - meant_for


def lead(latency_s: ArrayLike, quantile: float, step_s: float) -> int:
    """How many steps ahead to plan so that plans come in time: the ``quantile`` of their latency, in
    whole steps; 1 at least, and where nothing was measured yet."""
    seen = np.asarray(latency_s, np.float64)
    if not seen.size:
        return 1
    needed_s = np.quantile(seen, quantile, method="inverted_cdf")
    return max(1, math.ceil(needed_s / step_s - NEAR))


class Schedule:
    """Which action [A] is done in which step; in all others the arm stands still.

    Args:
      switches: [A] True where an action's dimension is a switch: standing still leaves it as it was.
    """

    def __init__(self, switches: ArrayLike):
        self._switches = np.asarray(switches, bool)
        self._before = np.where(self._switches, -1.0, 0.0).astype(np.float32)
        self._actions: dict[int, np.ndarray] = {}

    @property
    def end(self) -> int:
        """The first step for which nothing is planned any more; 0 where nothing ever was."""
        return max(self._actions, default=-1) + 1

    def at(self, step: int) -> np.ndarray:
        if step in self._actions:
            return self._actions[step]
        known = [s for s in self._actions if s < step]
        last = self._actions[max(known)] if known else self._before
        return np.where(self._switches, last, 0.0).astype(np.float32)

    def put(self, step: int, actions: ArrayLike) -> None:
        """``actions`` [H, A] from ``step`` on, in place of what was planned from there on."""
        self._actions = {s: a for s, a in self._actions.items() if s < step}
        for h, action in enumerate(np.asarray(actions, np.float32)):
            self._actions[step + h] = action

    def cut(self, step: int) -> None:
        """Stand still from ``step`` on."""
        still = np.where(self._switches, self.at(step), 0.0)
        self.put(step, still[None])

    def forget(self, step: int) -> None:
        """Keep nothing of the steps before ``step``, but how the switches were left."""
        self._before = self.at(step - 1)
        self._actions = {s: a for s, a in self._actions.items() if s >= step}

    def restart(self) -> None:
        """Steps are counted anew, from 0: nothing is planned, and switches stay as they are."""
        self._before, self._actions = self.at(self.end), {}
