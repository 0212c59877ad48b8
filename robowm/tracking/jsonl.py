"""Plain files in the run's own folder: ``metrics.jsonl``, ``videos/`` and ``tables/``."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from robowm.tracking import video


class JsonLinesLogger:
    """One JSON object a logged step, with ``step``; numbers that are not finite become null."""

    def __init__(self, out: Path):
        self._out = out
        self._path = out / "metrics.jsonl"
        self._open: TextIO | None = None

    @property
    def _file(self) -> TextIO:
        if self._open is None:
            self._out.mkdir(parents=True, exist_ok=True)
            self._open = self._path.open("a", buffering=1)  # a line at a time
        return self._open

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        numbers = {name: float(value) for name, value in metrics.items()}
        record = {
            "step": step,
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        }
        self._file.write(json.dumps(record, allow_nan=False) + "\n")

    def video(self, step: int, name: str, frames: np.ndarray, fps: float) -> None:
        path = self._media("videos", step, name, "mp4")
        path.write_bytes(video.encode_mp4(frames, fps))

    def table(
        self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        with self._media("tables", step, name, "csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])

    def state_dict(self) -> dict[str, Any]:
        self._file.flush()
        os.fsync(self._file.fileno())
        return {}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Cut the file back to ``step``, so that the curve is that of a run never interrupted."""
        self.close()
        if not self._path.exists():
            return
        beside = self._path.with_suffix(".jsonl.new")
        with beside.open("w") as file:
            file.writelines(line for line, at in _lines(self._path) if at <= step)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _media(self, room: str, step: int, name: str, suffix: str) -> Path:
        path = self._out / room / f"{name}_step_{step:08d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _lines(path: Path) -> Iterator[tuple[str, int]]:
    """Each whole line with its step; what a kill cut short is left out."""
    with path.open() as file:
        for line in file:
            try:
                step = json.loads(line)["step"]
            except (ValueError, KeyError, TypeError):
                continue
            if line.endswith("\n"):
                yield line, step
