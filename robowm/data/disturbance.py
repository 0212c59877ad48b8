"""What pushes the expert off its path, so that the data shows mistakes and how they are mended."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robowm.errors import UserError
from robowm.spec import ActionSpec


@dataclasses.dataclass
class DisturbanceConfig:
    """How much, in units of actions, where 1 is full speed.

    Attributes:
      clean: share of episodes that nothing disturbs.
      noise: largest standard deviation; each episode draws its own, uniformly from 0.
      burst_rate: chance, at each step outside one, that a burst begins.
      burst_min, burst_max: its length in steps, both included.
      pause: share of the bursts in which the arm stands still, its switches as intended. Without
        them standing still is seen only when all is done, and whoever imitates learns that who
        stands still has finished.
      lean: share of the bursts in which all actions lean to one side, two to three times as long. What
        plans round an obstacle goes where these lead, and the model must know what it is like there.
    """

    clean: float = 0.2
    noise: float = 0.25
    burst_rate: float = 0.06
    burst_min: int = 3
    burst_max: int = 6
    pause: float = 0.5
    lean: float = 0.0

    def check(self) -> None:
        """Raise :class:`UserError` on a value that cannot be meant."""
        for name in ("clean", "burst_rate", "pause", "lean"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"disturbance.{name} is {getattr(self, name)}: choose from 0 to 1.")
        if self.pause + self.lean > 1:
            raise UserError(
                f"disturbance.pause is {self.pause} and lean {self.lean}: choose shares of at most 1 "
                "together."
            )
        if self.noise < 0:
            raise UserError(f"disturbance.noise is {self.noise}: choose 0 or more.")
        if not 1 <= self.burst_min <= self.burst_max:
            raise UserError(
                f"disturbance.burst_min is {self.burst_min} and burst_max {self.burst_max}: choose "
                "1 <= burst_min <= burst_max."
            )


class Disturbance:
    """Turns the intended actions of one episode into those executed.

    Gaussian noise falls on every dimension but the switches, which flip only in bursts: a burst
    holds one random action, switches included, for a few steps.
    """

    def __init__(self, config: DisturbanceConfig, action: ActionSpec, rng: np.random.Generator):
        self._config, self._rng = config, rng
        self._switch = np.asarray(action.switch)
        self._is_clean = rng.random() < config.clean
        self.noise = 0.0 if self._is_clean else float(rng.uniform(0, config.noise))
        self.bursts = 0
        self._held: NDArray[Any] | None = None  # None is a pause
        self._offset: NDArray[Any] | None = None  # that a burst leans by
        self._left = 0

    def __call__(self, intended: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [A] in [-1, 1]."""
        if self._is_clean:
            return intended
        if self._left == 0 and self._rng.random() < self._config.burst_rate:
            self._begin_burst()
        if self._left:
            self._left -= 1
            if self._offset is not None:
                executed = intended + self._offset
            elif self._held is not None:
                executed = self._held
            else:
                executed = np.where(self._switch, intended, 0.0)
        else:
            noise = self._rng.normal(0.0, self.noise, len(self._switch))
            executed = intended + np.where(self._switch, 0.0, noise)
        return np.clip(executed, -1.0, 1.0).astype(np.float32)

    def _begin_burst(self) -> None:
        config, rng = self._config, self._rng
        self.bursts += 1
        self._left = int(rng.integers(config.burst_min, config.burst_max + 1))
        self._held = self._offset = None
        kind = rng.random()
        if kind < config.pause:
            return
        if kind < config.pause + config.lean:
            self._left *= int(rng.integers(2, 4))
            offset = np.where(self._switch, 0.0, rng.normal(size=len(self._switch)))
            self._offset = rng.uniform(0.3, 1.0) * offset / max(float(np.linalg.norm(offset)), 1e-9)
            return
        held = rng.uniform(-1.0, 1.0, len(self._switch))
        self._held = np.where(self._switch, np.where(held > 0, 1.0, -1.0), held)
