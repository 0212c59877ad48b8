"""How far the model's imagination can be believed, on held-out episodes: in numbers and in films.

OUT gets open_loop.json, report.html (self-contained), the plots as PNG and the films as MP4.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from robowm import agents, cli
from robowm.agents import Trained
from robowm.data.collect import SPLITS, collect_episode
from robowm.data.disturbance import DisturbanceConfig
from robowm.data.episode import Episode
from robowm.data.store import open_dataset
from robowm.errors import UserError, unknown
from robowm.evaluation import pages, plots
from robowm.evaluation.films import Film, FilmConfig, before_it_moves, film_imagination
from robowm.evaluation.open_loop import (
    OpenLoopConfig,
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
    open_loop: OpenLoopConfig = field(default_factory=OpenLoopConfig)
    ranking: RankingConfig = field(default_factory=RankingConfig)
    film: FilmConfig = field(default_factory=FilmConfig)
    device: str = "auto"
    threads: int = 1
    out: str = "outputs/imagine"


def main(config: Imagine) -> None:
    torch.set_num_threads(config.threads)
    if config.episodes < 1:
        raise UserError(f"episodes is {config.episodes}: give at least 1.")
    config.disturbance.check()
    trained = agents.load(config.checkpoint, config.device)
    console = Console(highlight=False)
    columns = (TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:

        def stage(description: str, work: Callable[[], Any]) -> Any:
            bar = progress.add_task(description, total=1)
            result = work()
            progress.update(bar, completed=1)
            return result

        found = progress.track(held_out(config, trained), config.episodes, description="episodes")
        episodes = list(found)
        data: dict[str, Any] = {
            "task": trained.spec.task,
            "checkpoint": str(trained.path),
            "updates": trained.step,
            "split": str(episodes[0].info.get("split", config.split)),
            "episodes": len(episodes),
            "seeds": [episode.info.get("seed") for episode in episodes],
            "context": config.open_loop.context,
            "pose": stage("pose error", lambda: pose(trained, episodes, config)),
            "ranking": stage("ranking", lambda: ranking(trained, episodes, config)),
        }
        shown = stage("films", lambda: film(trained, episodes, config))
    write(Path(config.out), data, shown, trained.spec, config.film)
    for line in summary(data):
        console.print(line)
    console.print(f"{Path(config.out) / 'report.html'}", soft_wrap=True)


def held_out(config: Imagine, trained: Trained) -> Iterator[Episode]:
    """Episodes of ``data``, or collected now from the checkpoint's task."""
    if config.data is not None:
        dataset = open_dataset(config.data)
        trained.spec.check_same(dataset.spec, config.data)
        yield from (stored.load() for stored in dataset.episodes[: config.episodes])
        return
    import robowm_envs
    from robowm_envs.expert import Expert

    if config.split not in SPLITS:
        raise unknown("split to collect", config.split, SPLITS)
    env = robowm_envs.make(split=config.split, **trained.task.arguments())
    try:
        expert = Expert(env)
        for seed in range(config.seed, config.seed + config.episodes):
            yield collect_episode(env, expert, seed, config.disturbance)
    finally:
        env.close()


def pose(trained: Trained, episodes: Sequence[Episode], config: Imagine) -> dict[str, Any] | None:
    """None where the model estimates no pose, or the task has no object."""
    model = trained.model
    if not isinstance(model, EstimatesPose) or POSITION not in trained.spec.pose_keys:
        return None
    return pose_errors(trained.model, episodes, trained.spec, config.open_loop)


def ranking(
    trained: Trained, episodes: Sequence[Episode], config: Imagine
) -> dict[str, Any] | None:
    """None where it is not asked for."""
    import robowm_envs

    if config.ranking.starts == 0:
        return None
    make_env = functools.partial(
        robowm_envs.make,
        split=str(episodes[0].info.get("split", config.split)),
        **trained.task.arguments() | {"observation": "state"},  # nothing is looked at
    )
    context = config.open_loop.context
    return rank_candidates(trained.model, make_env, episodes, config.ranking, context).to_dict()


def film(trained: Trained, episodes: Sequence[Episode], config: Imagine) -> list[tuple[str, Film]]:
    """Captions and films; none where the model shows no pictures."""
    model = trained.model
    if not isinstance(model, Decodes) or not trained.spec.images:
        return []
    context, chosen = config.open_loop.context, config.film
    long_enough = [episode for episode in episodes if len(episode) > context]
    found = []
    for number_, episode in enumerate(long_enough[: chosen.count]):
        start = before_it_moves(episode, context, chosen.before) if number_ else context - 1
        start = min(start, len(episode) - 1)
        made = film_imagination(trained.model, episode, trained.spec, start, chosen.ahead)
        ahead = len(next(iter(made.truth.values()))) - made.observed
        caption = (
            f"Seed {episode.info.get('seed')}: {made.observed} steps seen, then {ahead} imagined from "
            "the actions alone."
        )
        found.append((caption, made))
    return found


def write(
    out: Path,
    data: Mapping[str, Any],
    shown: Sequence[tuple[str, Film]],
    spec: TaskSpec,
    config: FilmConfig,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "open_loop.json", data)
    videos, strips = [], []
    for index, (caption, made) in enumerate(shown):
        mp4 = encode_mp4(made.frames(config.scale), 1 / spec.control_dt_s)
        write_bytes(out / f"imagination_{index}.mp4", mp4)
        videos.append((caption, mp4))
        strips.append((caption, made.strip(next(iter(made.truth)), config.columns)))
    if data["pose"]:
        drawing = plots.error_by_horizon(data["pose"]["horizon"], pages.panels(data["pose"]))
        write_bytes(out / "open_loop.png", drawing.png())
    pages.imagination_page(data, videos, strips).write(out / "report.html")


def summary(data: Mapping[str, Any]) -> Iterator[str]:
    """A line each for the error after ten steps, or the last there are, and for the ranking."""
    if pose := data["pose"]:
        step = min(10, len(pose["horizon"]))
        for name, unit in (("position_cm", " cm"), ("rotation_deg", "°")):
            if name in pose:
                error = {c: number(v["mean"][step - 1], 1, unit) for c, v in pose[name].items()}
                yield (
                    f"{name.partition('_')[0]} error after {step} imagined steps {error['imagined']}; "
                    f"seen {error['posterior']}, last pose kept {error['copy_last']}"
                )
    if (ranking := data["ranking"]) and ranking["mean"] is not None:
        low, high = ranking["low"], ranking["high"]
        yield f"rank correlation of returns {ranking['mean']:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    cli.run(main, "imagine")
