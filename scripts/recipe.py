"""The whole recipe from nothing: collect, train, evaluate, imagine, plan, and one report.

The same command again goes on where it stopped, in the middle of training too.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from rich.console import Console

from robowm import cli
from robowm.errors import UserError
from robowm.evaluation import report
from robowm.evaluation.pages import evaluation_page, panels
from robowm.evaluation.plots import error_by_horizon
from robowm.stages import Stage, run_all

SCRIPTS = Path(__file__).parent


@dataclasses.dataclass
class Recipe:
    """The whole configuration.

    Attributes:
      out: folder of everything that is made; report.html is in it.
      task: what is learned.
      randomise: groups of domain randomisation, in data and training alike.
      data: collections that are trained on together, by name: the settings of collect.py for each.
      train, evaluate, imagine, plan: settings handed to the script of that name.
    """

    out: str = "outputs/recipe"
    task: str = "grasp_rotate_place"
    randomise: list[str] = field(default_factory=lambda: ["pose", "friction", "mass"])
    data: dict[str, list[str]] = field(default_factory=dict)
    train: list[str] = field(default_factory=list)
    evaluate: list[str] = field(default_factory=list)
    imagine: list[str] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)


def main(config: Recipe) -> int:
    console = Console(highlight=False)
    out = Path(config.out)
    code, seconds = run_all(stages(config), out, SCRIPTS, console)
    if code:
        return code
    path = write_report(out, config.task, seconds)
    console.rule(f"[bold green]{path}[/]  {sum(seconds.values()) / 60:.1f} minutes")
    return 0


def stages(config: Recipe) -> list[Stage]:
    if not config.data:
        raise UserError("data is empty: give a collection, such as data.plain=[episodes=1000].")
    out = Path(config.out)
    task, randomise = f"task={config.task}", f"task.randomise=[{','.join(config.randomise)}]"
    collected = {f"data_{name}": settings for name, settings in config.data.items()}
    made = [
        Stage(
            name,
            "collect",
            (
                *([] if any(s.startswith("task=") for s in settings) else [task]),
                randomise,
                f"out={out / name}",
                *settings,
            ),
        )
        for name, settings in collected.items()
    ]
    folders = ",".join(str(out / name) for name in collected)
    given = (task, randomise, f"data=[{folders}]", f"out={out / 'train'}", *config.train)
    made.append(Stage("train", "train", given, tuple(collected)))
    for name in ("evaluate", "imagine", "plan"):
        given = (f"checkpoint={out / 'train'}", f"out={out / name}", *getattr(config, name))
        made.append(Stage(name, name, given, (*collected, "train")))
    return made


def write_report(out: Path, task: str, seconds: Mapping[str, float]) -> Path:
    """One page from what the stages wrote; each stage's own page says more."""
    results = json.loads((out / "evaluate" / "report.json").read_text())
    page = evaluation_page(results)
    page.title = f"robowm: {task}, from nothing"
    page.section("One plan, and what then happened", *report.dispatched(out / "plan"))
    imagined = json.loads((out / "imagine" / "open_loop.json").read_text())
    if pose := imagined["pose"]:
        page.section(
            "How far imagination can be believed",
            report.plot(error_by_horizon(pose["horizon"], panels(pose))),
            *(report.video(path.read_bytes()) for path in sorted((out / "imagine").glob("*.mp4"))),
            note=f"Mean error of the imagined pose over {pose['starts']} starts in held-out episodes.",
        )
    minutes = [[stage, report.number(s / 60, 1)] for stage, s in seconds.items()]
    page.section("What it took", report.table(["stage", "minutes"], minutes))
    path = out / "report.html"
    page.write(path)
    return path


if __name__ == "__main__":
    cli.run(main, "recipe")
