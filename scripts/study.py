"""Many trainings and evaluations, side by side, and one table for each question they answer.

Which collections, trainings and evaluations, and which of them share a table, is in the configuration:
configs/study.yaml is the one that docs/comparison.md was made with. The same command again goes on where it
stopped; ``only=[NAME,...]`` runs these tables and what they need. OUT/study.md holds all that is there so far.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import field
from pathlib import Path
from typing import Any

from rich.console import Console

from robowm import cli
from robowm.errors import UserError, unknown
from robowm.evaluation import comparison, plots
from robowm.evaluation.pictures import write_bytes
from robowm.evaluation.report import write_json
from robowm.stages import Stage, run_all

SCRIPTS = Path(__file__).parent


@dataclasses.dataclass
class Variant:
    """One way to train, at one or several seeds.

    Attributes:
      data: the collections that it learns from.
      seeds: of the training, one run each.
      train: settings of train.py; for ``script: baseline`` of baseline.py, which evaluates by itself.
      script: train or baseline.
    """

    data: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    train: list[str] = field(default_factory=list)
    script: str = "train"


@dataclasses.dataclass
class Trial:
    """One evaluation of each run of a variant, or of what was not learned.

    Attributes:
      of: a variant; none for experts and floors.
      evaluate: settings of evaluate.py.
    """

    of: str | None = None
    evaluate: list[str] = field(default_factory=list)


@dataclasses.dataclass
class Asked:
    """A table: rows from these trials.

    Attributes:
      rows: trials, or variants that are baselines, by name; each row is called by its trial's name too
        where ``named`` says so.
      curves: trials of the same agents, trained with less data or for a shorter time.
      named: whether rows are told apart by their trials' names, or by their agents alone.
    """

    rows: list[str] = field(default_factory=list)
    curves: list[str] = field(default_factory=list)
    named: bool = True
    title: str = ""


@dataclasses.dataclass
class Study:
    """The whole configuration.

    Attributes:
      out: folder of everything that is made.
      task: what is learned.
      randomise: groups of domain randomisation, in all of it.
      jobs: stages that run at once; one for each core, and a thread each.
      update_s: that an update takes on a machine to itself (``benchmark.py suite=train``): minutes of
        training are then updates times this. None: as measured, where other work is in them.
      data: collections by name: the settings of collect.py.
      train, evaluate: settings for every training and every evaluation.
      variants: trainings by name.
      trials: evaluations by name.
      tables: what is asked, by name, in the order in which it is run.
      only: of the tables; all where it is empty.
    """

    out: str = "outputs/study"
    task: str = "grasp_rotate_place"
    randomise: list[str] = field(default_factory=list)
    jobs: int = 2
    update_s: float | None = None
    data: dict[str, list[str]] = field(default_factory=dict)
    train: list[str] = field(default_factory=list)
    evaluate: list[str] = field(default_factory=list)
    variants: dict[str, Variant] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    tables: dict[str, Asked] = field(default_factory=dict)
    only: list[str] = field(default_factory=list)


def main(config: Study) -> int:
    check(config)
    console = Console(highlight=False)
    out = Path(config.out)
    code, _ = run_all(stages(config), out, SCRIPTS, console, config.jobs)
    parts = [part for name in config.tables if (part := table(config, name, out))]
    write_bytes(out / "study.md", "\n\n".join(parts).encode())
    console.print(f"{out / 'study.md'}", soft_wrap=True)
    return code


def check(config: Study) -> None:
    """Raise UserError on names that nothing bears."""
    for name in config.only:
        if name not in config.tables:
            raise unknown("table", name, config.tables)
    for asked in config.tables.values():
        for row in (*asked.rows, *asked.curves):
            if row not in config.trials and row not in config.variants:
                raise unknown("trial", row, (*config.trials, *config.variants))
    for trial in config.trials.values():
        if trial.of is not None and trial.of not in config.variants:
            raise unknown("variant", trial.of, config.variants)
    for variant in config.variants.values():
        if variant.script not in ("train", "baseline"):
            raise unknown("script of a variant", variant.script, ("train", "baseline"))
        for name in variant.data:
            if name not in config.data:
                raise unknown("collection", name, config.data)
    if config.jobs < 1:
        raise UserError(f"jobs is {config.jobs}: give at least 1.")


def stages(config: Study) -> list[Stage]:
    """What the asked tables need, each once, in the order in which it is first asked for."""
    found: dict[str, Stage] = {}
    asked = [
        table for name, table in config.tables.items() if name in (config.only or config.tables)
    ]
    for table in asked:
        for name in (*table.rows, *table.curves):
            variant = config.trials[name].of if name in config.trials else name
            if variant is not None:
                _add_runs(config, variant, found)
            if name in config.trials:
                _add_trials(config, name, found)
    return list(found.values())


def _add_runs(config: Study, name: str, found: dict[str, Stage]) -> None:
    variant = config.variants[name]
    scene = (f"task={config.task}", f"task.randomise=[{','.join(config.randomise)}]")
    out = Path(config.out)
    for data in variant.data:
        given = (*scene, f"out={out / 'data' / data}", *config.data[data])
        found.setdefault(f"data_{data}", Stage(f"data_{data}", "collect", given))
    for seed in variant.seeds:
        run = _run(name, seed)
        if variant.script == "baseline":
            settings = (f"seed={seed}", f"out={out / 'trials' / run}", "again=true", *variant.train)
            needs: tuple[str, ...] = ()
        else:
            folders = ",".join(str(out / "data" / data) for data in variant.data)
            settings = (
                f"data=[{folders}]", f"learning.seed={seed}", f"out={out / 'runs' / run}",
                *config.train, *variant.train,
            )  # fmt: skip
            needs = tuple(f"data_{data}" for data in variant.data)
        found.setdefault(run, Stage(run, variant.script, (*scene, *settings), needs))


def _add_trials(config: Study, name: str, found: dict[str, Stage]) -> None:
    trial, out = config.trials[name], Path(config.out)
    if trial.of is None:
        scene = (f"task={config.task}", f"task.randomise=[{','.join(config.randomise)}]")
        given = (*scene, f"out={out / 'trials' / name}", *config.evaluate, *trial.evaluate)
        found.setdefault(f"eval_{name}", Stage(f"eval_{name}", "evaluate", given))
        return
    for seed in config.variants[trial.of].seeds:
        run, stage = _run(trial.of, seed), f"eval_{_run(name, seed)}"
        given = (
            f"checkpoint={out / 'runs' / run}", f"out={out / 'trials' / _run(name, seed)}",
            *config.evaluate, *trial.evaluate,
        )  # fmt: skip
        found.setdefault(stage, Stage(stage, "evaluate", given, (run,)))


def _run(name: str, seed: int) -> str:
    return f"{name}_s{seed}"


def table(config: Study, name: str, out: Path) -> str:
    """One table as Markdown, from the reports that are there; empty where there is none yet."""
    asked = config.tables[name]
    rows = comparison.read(_reports(config, asked.rows, asked.named, out))
    points = comparison.read(_reports(config, asked.curves, False, out))
    if not rows:
        return ""
    if config.update_s is not None:
        for row in (*rows, *points):
            if row.get("updates"):
                row["minutes"] = row["updates"] * config.update_s / 60
    data = comparison.compare(rows, points)
    folder = out / "tables" / name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "compare.json", data)
    write_bytes(folder / "success.png", plots.success_rates(data["rows"]).png())
    if data["curves"]:
        write_bytes(folder / "learning.png", plots.learning_curves(data["curves"]).png())
    return f"## {asked.title or name}\n\n{comparison.markdown(data)}"


def _reports(config: Study, names: Iterable[str], named: bool, out: Path) -> list[str]:
    found = []
    for name in names:
        variant: Any = config.trials[name].of if name in config.trials else name
        folders = [_run(name, s) for s in config.variants[variant].seeds] if variant else [name]
        for folder in folders:
            path = out / "trials" / folder / "report.json"
            if path.is_file():
                baseline = name not in config.trials  # two of one kind are told apart by name alone
                found.append(f"{name}:{path}" if named or baseline else str(path))
    return found


if __name__ == "__main__":
    cli.run(main, "study")
