"""Weights & Biases: offline unless asked, one run for as long as the training is resumed.

wandb itself does not resume offline: it starts a new folder whose steps count from 0 again. So the
run's id is ours, kept in OUT and in each checkpoint, and every call names its step. All folders of a
training then carry the same id, and ``wandb sync`` joins them, in order, into one run.
"""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import wandb

from robowm.errors import UserError, unknown
from robowm.tracking import video

if TYPE_CHECKING:
    from robowm.tracking import TrackingConfig

MODES = ("offline", "online")


class WandbLogger:
    def __init__(self, config: TrackingConfig, out: Path, run_config: Mapping[str, Any]):
        if config.mode not in MODES:
            raise unknown("tracking.mode", config.mode, MODES)
        self._config = config
        self._out = out
        self._run_config = dict(run_config)
        self._run: Any = None
        self._id: str | None = None
        self._id_path = out / "wandb_run.json"

    @property
    def id(self) -> str:
        """Known before the run starts, and the same after a kill that no checkpoint preceded."""
        if self._id is None and self._id_path.exists():
            self._id = json.loads(self._id_path.read_text())["id"]
        if self._id is None:
            self._id = secrets.token_hex(4)  # wandb has no stable name for its own
        return self._id

    @property
    def run(self) -> Any:
        """wandb's own run, started on first use."""
        if self._run is None:
            self._out.mkdir(parents=True, exist_ok=True)
            self._id_path.write_text(json.dumps({"id": self.id}) + "\n")
            mode: Any = self._config.mode  # checked above
            try:
                self._run = wandb.init(
                    id=self.id,
                    resume="allow",
                    mode=mode,
                    project=self._config.project,
                    entity=self._config.entity,
                    name=self._config.name,
                    tags=list(self._config.tags),
                    config=self._run_config,
                    dir=str(self._out),
                    # The terminal belongs to the script, and console lines are no metrics.
                    settings=wandb.Settings(console="off", silent=True),
                )
            except wandb.Error as error:
                raise UserError(
                    f"wandb cannot start a run ({error}): log in with `wandb login`, or use "
                    "tracking.mode=offline and `wandb sync` later."
                ) from error
        return self._run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.run.log(dict(metrics), step=step)

    def video(self, step: int, name: str, frames: np.ndarray, fps: float) -> None:
        # Encoded here: wandb's own encoder needs moviepy.
        data = io.BytesIO(video.encode_mp4(frames, fps))
        self.run.log({name: wandb.Video(data, format="mp4")}, step=step)

    def table(
        self, step: int, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        table = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self.run.log({name: table}, step=step)

    def state_dict(self) -> dict[str, Any]:
        return {"id": self.id}

    def resume(self, step: int, state: Mapping[str, Any]) -> None:
        """Steps that a killed run logged after ``step`` stay: the same values come again."""
        self.close()
        self._id = state.get("id")

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None
