"""What a shipped checkpoint can do, in a few minutes: unseen starts, one plan shown, a zone kept out of.

The same command again goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import field
from pathlib import Path

from rich.console import Console

from robowm import cli
from robowm.evaluation import report
from robowm.evaluation.pages import evaluation_page, results_table
from robowm.stages import Stage, run_all

SCRIPTS = Path(__file__).parent


@dataclasses.dataclass
class Demo:
    """The whole configuration.

    Attributes:
      out: folder of everything that is made; report.html is in it.
      checkpoint: that acts and plans.
      keep_out_checkpoint: the same under the name of the task with a zone.
      started: when the time began, in seconds since 1970; none is now.
      evaluate, keep_out, plan: settings handed to evaluate.py, evaluate.py and plan.py.
    """

    out: str = "outputs/demo"
    checkpoint: str = "grasp_rotate_place"
    keep_out_checkpoint: str = "keep_out"
    started: float | None = None
    evaluate: list[str] = field(default_factory=list)
    keep_out: list[str] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)


def main(config: Demo) -> int:
    console = Console(highlight=False)
    started = config.started or time.time()
    out = Path(config.out)
    stages = [
        Stage(name, script, (f"checkpoint={checkpoint}", f"out={out / name}", *settings))
        for name, script, checkpoint, settings in (
            ("evaluate", "evaluate", config.checkpoint, config.evaluate),
            ("keep_out", "evaluate", config.keep_out_checkpoint, config.keep_out),
            ("plan", "plan", config.checkpoint, config.plan),
        )
    ]
    code, _ = run_all(stages, out, SCRIPTS, console)
    if code:
        return code
    path = write_report(out)
    console.rule(f"[bold green]{path}[/]  {(time.time() - started) / 60:.1f} minutes")
    return 0


def write_report(out: Path) -> Path:
    """One page from what the stages wrote; each stage's own page says more."""
    page = evaluation_page(json.loads((out / "evaluate" / "report.json").read_text()))
    page.title = "robowm: unseen starts"
    page.section("One plan, and what then happened", *report.dispatched(out / "plan"))
    zone = json.loads((out / "keep_out" / "report.json").read_text())
    films = sorted((out / "keep_out").glob("*.mp4"))
    page.section(
        "A zone to keep out of",
        results_table(zone["rows"]),
        report.grid([report.video(path.read_bytes(), path.stem) for path in films]),
        note="The yellow box is told to the planner as a cost on what it imagines, and to nobody else: "
        "no picture that an agent sees shows it, and nothing was trained with it. Success counts only "
        "where neither hand nor bar was ever in it.",
    )
    path = out / "report.html"
    page.write(path)
    return path


if __name__ == "__main__":
    cli.run(main, "demo")
