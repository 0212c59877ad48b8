"""TensorBoard event files in ``OUT/tensorboard``."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

if TYPE_CHECKING:
    from robowm.tracking import TrackingConfig


class TensorboardLogger:
    def __init__(self, config: TrackingConfig, out: Path, run_config: Mapping[str, Any]):
        self._folder = out / "tensorboard"
        self._purge_step: int | None = None
        self._open: SummaryWriter | None = None

    @property
    def _writer(self) -> SummaryWriter:
        if self._open is None:
            self._open = SummaryWriter(str(self._folder), purge_step=self._purge_step)
        return self._open

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def video(self, step: int, name: str, frames: np.ndarray, fps: float) -> None:
        # TensorBoard plays GIF alone; its own encoder needs moviepy.
        first, *rest = [Image.fromarray(frame) for frame in frames]
        buffer = io.BytesIO()
        first.save(
            buffer, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0
        )
        height, width = frames.shape[1:3]
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=buffer.getvalue()
        )
        summary = Summary(value=[Summary.Value(tag=name, image=image)])
        self._writer._get_file_writer().add_summary(summary, step)

    def table(
        self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        text = "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
        self._writer.add_text(name, text, step)

    def state_dict(self) -> dict[str, Any]:
        self._writer.flush()
        return {}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """TensorBoard hides what a killed run wrote from ``purge_step`` on."""
        self.close()
        self._purge_step = step + 1

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
