"""What every logger takes, and how several are driven as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Logger(Protocol):
    """Steps never decrease between two calls of :meth:`resume`."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def video(self, step: int, name: str, frames: np.ndarray, fps: float) -> None:
        """``frames`` are uint8 [T, H, W, 3]."""
        ...

    def table(
        self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must carry; all that was logged until now is on disk afterwards."""
        ...

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Go on after ``step``: forget what a killed run logged later. ``(0, {})`` starts anew."""
        ...

    def close(self) -> None: ...


class Loggers:
    """Several loggers, by name, as one."""

    def __init__(self, loggers: Mapping[str, Logger]):
        self._loggers = dict(loggers)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for logger in self._loggers.values():
            logger.log(step, metrics)

    def video(self, step: int, name: str, frames: np.ndarray, fps: float) -> None:
        for logger in self._loggers.values():
            logger.video(step, name, frames, fps)

    def table(
        self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        for logger in self._loggers.values():
            logger.table(step, name, columns, rows)

    def state_dict(self) -> dict[str, Any]:
        return {name: logger.state_dict() for name, logger in self._loggers.items()}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        for name, logger in self._loggers.items():
            logger.resume(step, state.get(name, {}))

    def close(self) -> None:
        for logger in self._loggers.values():
            logger.close()
