"""Agents that know nothing: the floors that every table of results shows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robowm.spec import TaskSpec


class RandomAgent:
    """Uniform in [-1, 1], a fair coin for each switch; goes on with its stream after a reset."""

    def __init__(self, spec: TaskSpec, seed: int = 0):
        self._switch = np.asarray(spec.action.switch)
        self.seed(seed)

    def seed(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def reset(self) -> None: ...

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        action = self._generator.uniform(-1, 1, len(self._switch))
        return np.where(self._switch, np.where(action > 0, 1, -1), action).astype(np.float32)


class NothingAgent:
    """Holds still, switches off."""

    def __init__(self, spec: TaskSpec):
        self._action = np.where(spec.action.switch, -1, 0).astype(np.float32)

    def reset(self) -> None: ...

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        return self._action.copy()
