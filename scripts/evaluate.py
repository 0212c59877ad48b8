"""Run agents on starts that nothing was trained on, and say how often they succeed.

OUT gets report.json, films of a success and a failure of each agent, and report.html with all that.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from robowm import agents, cli
from robowm.agents import AgentConfig, Trained
from robowm.config import TaskConfig
from robowm.errors import UserError
from robowm.evaluation import pages
from robowm.evaluation.metrics import paired, summarise
from robowm.evaluation.pictures import Frames, write_bytes
from robowm.evaluation.report import number, write_json
from robowm.evaluation.rollout import EpisodeResult, MakeEnv, evaluate, film
from robowm.tracking.video import encode_mp4

FPS = 10


@dataclasses.dataclass
class Evaluate:
    """The whole configuration.

    Attributes:
      checkpoint: folder that train.py wrote, or one step folder in it; expert, replay, random and
        nothing need none.
      task: what to act in; none is the checkpoint's own.
      agent: planner, actor, cloning, expert, replay, random, nothing, or a list of these.
      episodes: starts, the same for every agent.
      seed: of the first; the others follow.
      split: train, validation, test, or a shift.
      push: object or arm, to be knocked against once in the middle of each episode.
      proposals: behaviour that proposes to the planner, or all of them, or none.
      workers: processes.
      batch: starts that a learned agent acts in at once, in each process: a planner is some three
        times faster so. It then draws the same noise for each of them, and an action's latency is its
        share of the call.
      threads: torch's own, in this process; each of several workers has one.
      films: successes and failures shown, of each agent.
      film_size: their height and width.
      out: folder of the report.
    """

    checkpoint: str | None = None
    task: TaskConfig | None = None
    planner: Any = MISSING
    agent: Any = "planner"
    episodes: int = 100
    seed: int = 0
    split: str = "test"
    push: str = "none"
    proposals: str = agents.ALL_PROPOSALS
    workers: int = 1
    batch: int = 8
    threads: int = 1
    device: str = "auto"
    films: int = 1
    film_size: int = 192
    out: str = "outputs/evaluate"


def main(config: Evaluate) -> None:
    import robowm_envs
    from robowm_envs.expert import Expert

    torch.set_num_threads(config.threads)
    if config.films < 0 or config.film_size < 16:
        raise UserError(
            f"films is {config.films} and film_size {config.film_size}: give 0 or more, and at least 16."
        )
    names = agent_names(config.agent)
    trained = trained_for(names, config)
    task = config.task or (trained.task if trained else None)
    if task is None:
        raise UserError(
            "there is no checkpoint to say what to do: give task=..., or checkpoint=DIR."
        )
    arguments = task.arguments()
    make_env = functools.partial(
        robowm_envs.make, split=config.split, push=config.push, **arguments
    )
    make_other = functools.partial(make_env, observation="state")
    console = Console(highlight=False)
    results: dict[str, list[EpisodeResult]] = {}
    with progress_bar(console) as progress:
        for name in names:
            # The step folder: what `last` means may change while this runs.
            path = str(trained.path) if trained and name in agents.LEARNED else None
            agent = AgentConfig(name, path, config.planner, config.proposals, config.device)
            make_agent = functools.partial(
                agents.make_agent, config=agent, make_expert=Expert, make_env=make_other
            )
            results[name] = evaluate(
                make_env,
                make_agent,
                config.episodes,
                config.seed,
                config.workers,
                Bar(progress, name, config.episodes),
                config.batch,
            )
    data = report(config, task, trained, results)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "report.json", data)
    shown = films(make_env, results, config)
    for caption, frames in shown:
        name = re.sub(r"\W+", "_", caption)
        write_bytes(out / f"{name}.mp4", encode_mp4(frames, FPS))
    pages.evaluation_page(data, shown).write(out / "report.html")
    console.print(summary(data.get("rows", [data])))
    console.print(f"{out / 'report.html'}", soft_wrap=True)


def agent_names(chosen: Any) -> list[str]:
    names = [chosen] if isinstance(chosen, str) else list(chosen or [])
    for name in names:
        agents.check_name(str(name))
    if not names or len(set(names)) < len(names):
        raise UserError(f"agent={chosen}: give one, or a list that names each once.")
    return names


def trained_for(names: Sequence[str], config: Evaluate) -> Trained | None:
    """The checkpoint, read once to know the task and to say at once what is missing in it."""
    learned = [name for name in names if name in agents.LEARNED]
    if config.checkpoint is None:
        if learned:
            raise UserError(
                f"agent={learned[0]} was learned: give checkpoint=DIR, the folder that train.py wrote."
            )
        return None
    trained = agents.load(config.checkpoint, config.device)
    for name in learned:
        if name == "planner":
            trained.planner(config.planner, config.proposals)
        else:
            trained.policy(agents.POLICIES[name])
    return trained


def report(
    config: Evaluate,
    task: TaskConfig,
    trained: Trained | None,
    results: Mapping[str, Sequence[EpisodeResult]],
) -> dict[str, Any]:
    """What report.json holds: the first agent's row, and where there are several, all ``rows``."""
    rows = []
    for name, episodes in results.items():
        learned = trained if name in agents.LEARNED else None
        row = {
            "task": task.name,
            "agent": name,
            "checkpoint": str(learned.path) if learned else None,
            "updates": learned.step if learned else None,
            "train_seed": learned.seed if learned else None,
            "env_steps": learned.env_steps if learned else None,
            "minutes": learned.minutes if learned else None,
            "observation": task.observation if learned else None,
            "split": config.split,
            "push": config.push,
            "seed": config.seed,
            "batch": config.batch,
            **summarise(episodes),
        }
        if name == "planner":
            row["planner"] = dataclasses.asdict(config.planner) | {"proposals": config.proposals}
        rows.append(row)
    if len(rows) == 1:
        return rows[0]
    first, *others = results
    pairs = {name: paired(results[first], results[name]) for name in others}
    return {**rows[0], "rows": rows, "paired": pairs}


def films(
    make_env: MakeEnv, results: Mapping[str, Sequence[EpisodeResult]], config: Evaluate
) -> list[tuple[str, Frames]]:
    """The first successes and failures of what was learned, or of all where nothing was."""
    shown = [name for name in results if name in agents.LEARNED] or list(results)
    found = []
    for name in shown:
        for outcome, said in ((True, "success"), (False, "failure")):
            chosen = [r for r in results[name] if r.success == outcome][: config.films]
            for result in chosen:
                size = (config.film_size, config.film_size)
                caption = f"{name}, seed {result.seed}: {said}"
                found.append((caption, film(make_env, result, size=size)))
    return found


def progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
    )


class Bar:
    """One agent's progress, with what it achieved so far."""

    def __init__(self, progress: Progress, name: str, episodes: int):
        self._progress, self._task = progress, progress.add_task(name, total=episodes, said="")
        self._done = self._succeeded = 0

    def __call__(self, result: EpisodeResult) -> None:
        self._done += 1
        self._succeeded += result.success
        said = f"success {self._succeeded / self._done:.0%}"
        self._progress.update(self._task, advance=1, said=said)


def summary(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2))
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "agent": lambda row: row["agent"],
        "success": lambda row: f"{row['success']:.0%}",
        "95%": lambda row: f"{row['success_low']:.0%} to {row['success_high']:.0%}",
        "position": lambda row: number(row["position_error_cm"], 1, " cm"),
        "rotation": lambda row: number(row["rotation_error_deg"], 1, "°"),
        "an action": lambda row: number(row["ms_per_action"], 1, " ms"),
    }
    for name in columns:
        table.add_column(name, justify="left" if name == "agent" else "right")
    for row in rows:
        table.add_row(*(text(row) for text in columns.values()))
    return table


if __name__ == "__main__":
    cli.run(main, "evaluate")
