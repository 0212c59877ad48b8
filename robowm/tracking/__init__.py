"""Where a run's numbers, pictures and tables go. The JSON lines in OUT are always written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robowm.registry import Registry
from robowm.tracking.jsonl import JsonLinesLogger
from robowm.tracking.protocol import Logger, Loggers

LOGGERS = Registry(
    "tracking",
    {
        "wandb": "robowm.tracking.wandb:WandbLogger",
        "tensorboard": "robowm.tracking.tensorboard:TensorboardLogger",
    },
)


@dataclasses.dataclass(frozen=True)
class TrackingConfig:
    """Which logger runs beside the JSON lines.

    Attributes:
      kind: ``jsonl`` for none, or a name in :data:`LOGGERS`.
      mode: wandb only: ``offline`` (to disk, nothing leaves the machine) or ``online``.
      project, entity, name, tags: wandb's own; None lets wandb choose.
    """

    kind: str = "jsonl"
    mode: str = "offline"
    project: str = "robowm"
    entity: str | None = None
    name: str | None = None
    tags: list[str] = dataclasses.field(default_factory=list)


def make_logger(config: TrackingConfig, out: Path, run_config: Mapping[str, Any]) -> Logger:
    """The JSON-lines logger of ``out`` together with the chosen one.

    ``run_config`` is the resolved configuration, for loggers that show it.
    """
    loggers: dict[str, Logger] = {"jsonl": JsonLinesLogger(out)}
    if config.kind != "jsonl":
        loggers[config.kind] = LOGGERS[config.kind](config, out, run_config)
    return Loggers(loggers)
