"""How far the model's imagination can be believed, on held-out episodes: in numbers and in films.

OUT gets open_loop.json, report.html (self-contained), the plots as PNG and the films as MP4.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from omegaconf import MISSING

from robowm import agents, cli
from robowm.agents import Trained
from robowm.data.collect import collect_episode
from robowm.data.disturbance import DisturbanceConfig
from robowm.data.episode import Episode
from robowm.data.store import open_dataset
from robowm.errors import UserError
from robowm.evaluation import films, pages, plots
from robowm.evaluation.films import FilmConfig
from robowm.evaluation.metrics import Interval
from robowm.evaluation.open_loop import (
    OpenLoopConfig,
    Ranking,
    RankingConfig,
    pose_errors,
    rank_candidates,
)
from robowm.evaluation.pictures import write_bytes
from robowm.evaluation.report import number, write_json
from robowm.models.protocol import Decodes, EstimatesPose
from robowm.spec import POSITION, TaskSpec
from robowm.tracking.video import encode_mp4


@dataclasses.dataclass
class Imagine:
    """The whole configuration.

    Attributes:
      checkpoint: folder that train.py wrote, or one step folder in it.
      data: episodes that the model has not seen, as collect.py writes them; none collects them now.
      episodes: how many, at most.
      seed: of the first, where they are collected now; the others follow.
      split: of the environment that they are collected from, or were.
      disturbance: what pushes the expert, where they are collected now.
      threads: torch's own.
      out: folder of the report.
    """

    checkpoint: str = MISSING
    data: str | None = None
    episodes: int = 16
    seed: int = 0
    split: str = "validation"
    disturbance: DisturbanceConfig = field(default_factory=DisturbanceConfig)
    pose: OpenLoopConfig = field(default_factory=OpenLoopConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
    film: FilmConfig = field(default_factory=FilmConfig)
    device: str = "auto"
    threads: int = 1
    out: str = "outputs/imagine"


def main(config: Imagine) -> None:
    import robowm_envs

    torch.set_num_threads(config.threads)
    if config.episodes < 1:
        raise UserError(f"episodes is {config.episodes}: give at least 1.")
    config.disturbance.check()
    trained = agents.load(config.checkpoint, config.device)
    console = Console(highlight=False)
    columns = (TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        episodes = list(
            progress.track(held_out(config, trained), config.episodes, description="episodes")
        )
        data: dict[str, Any] = {
            "task": trained.spec.task,
            "checkpoint": str(trained.path),
            "updates": trained.step,
            "split": episodes[0].info.get("split", config.split),
            "episodes": len(episodes),
            "seeds": [episode.info.get("seed") for episode in episodes],
            "context": config.pose.context,
            "pose": None,
            "ranking": None,
        }
        if isinstance(trained.model, EstimatesPose) and POSITION in trained.spec.pose_keys:
            each = progress.track([0], description="pose error")
            for _ in each:
                data["pose"] = pose_errors(trained.model, episodes, trained.spec, config.pose)
        if config.ranking.starts:
            make_env = functools.partial(
                robowm_envs.make,
                split=data["split"],
                **trained.task.arguments() | {"observation": "state"},
            )
            for _ in progress.track([0], description="ranking"):
                ranking = rank_candidates(
                    trained.model, make_env, episodes, config.ranking, config.pose.context
                )
                data["ranking"] = ranking.to_dict()
