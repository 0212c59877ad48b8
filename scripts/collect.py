"""Collect demonstrations: an expert drives, disturbances push it off its path, failures are kept.

The same command again collects what is missing.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from robowm import agents, cli
from robowm.config import TaskConfig
from robowm.data.collect import CollectConfig, Collected, MakeDriver, collect
from robowm.errors import UserError, unknown
from robowm.planning.agent import BeliefAgent
from robowm.spec import TaskSpec

MISTAKEN = "mistaken"  # the driver that was not learned


@dataclasses.dataclass
class Collect(CollectConfig):
    """The configuration of this script.

    Attributes:
      push: object or arm, to be knocked against once in the middle of each episode.
      driver: who acts in the expert's place: actor or cloning of ``checkpoint``, or mistaken, an expert
        that for a while follows another goal (``sort``: another order). What it does wrong is then in
        the data, with what the expert would have done.
      out: folder of the data; one that holds some already is completed.
    """

    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    push: str = "none"
    driver: str | None = None
    checkpoint: str | None = None
    out: str = MISSING


class Bar:
    """A progress bar with what has come of the episodes of this run."""

    def __init__(self, progress: Progress, episodes: int):
        self._progress = progress
        self._bar = progress.add_task("episodes", total=episodes, said="")
        self.episodes = self.steps = self.successes = 0

    def __call__(self, news: Collected | int) -> None:
        if isinstance(news, int):
            self._progress.update(self._bar, completed=news)
            return
        self.episodes += 1
        self.steps += news.steps
        self.successes += news.success
        said = f"{self.steps} steps, success {self.successes / self.episodes:.0%}"
        self._progress.update(self._bar, advance=1, said=said)


def main(config: Collect) -> None:
    import robowm_envs
    from robowm_envs.expert import Expert

    driver = driver_of(config)
    task = config.task.arguments() | ({"push": config.push} if config.push != "none" else {})
    make_env = functools.partial(robowm_envs.make, split=config.split, **task)
    console = Console(highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = Bar(progress, config.episodes)
        made_with: dict[str, Any] = {"environment": task}
        if driver is not None:
            learned = [Path(config.checkpoint).name] if config.checkpoint else []
            made_with["driver"] = [config.driver, *learned]
        dataset = collect(make_env, Expert, config, config.out, made_with, bar, driver)
        seconds = progress.tasks[0].finished_time or 0.0
    if bar.episodes:
        console.print(
            f"{bar.episodes} episodes, {bar.steps} steps in {seconds:.0f} s "
            f"({bar.steps / max(seconds, 1e-3):.0f} steps/s), success {bar.successes / bar.episodes:.0%}"
        )
    size = sum(path.stat().st_size for path in dataset.infos) / 1e6
    console.print(
        f"{config.out}: {len(dataset.episodes)} episodes, {dataset.steps} steps, {size:.1f} MB",
        soft_wrap=True,
    )


def driver_of(config: Collect) -> MakeDriver | None:
    """Who acts in the expert's place; raises UserError on one that cannot."""
    if config.driver is None:
        return None
    if config.driver == MISTAKEN:
        from robowm_envs.expert import MistakenExpert

        return MistakenExpert
    if config.driver not in agents.POLICIES:
        raise unknown("driver", config.driver, (*agents.POLICIES, MISTAKEN))
    if config.checkpoint is None:
        raise UserError(f"driver={config.driver} was learned: give checkpoint=DIR as well.")
    agents.load(config.checkpoint)
    return functools.partial(make_driver, config.driver, config.checkpoint)


def make_driver(name: str, checkpoint: str, env: Any) -> BeliefAgent:
    """In a worker."""
    torch.set_num_threads(1)
    trained = agents.load(checkpoint)
    trained.spec.check_same(TaskSpec.from_env(env), "the task")
    return trained.policy(agents.POLICIES[name])


if __name__ == "__main__":
    cli.run(main, "collect")
