"""The whole path in one command: collect, train, evaluate, imagine, plan, and one report.

Training gets the time that is left. The same command again goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from dataclasses import field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console

from robowm import cli
from robowm.errors import UserError
from robowm.evaluation import report
from robowm.evaluation.pages import evaluation_page, panels
from robowm.evaluation.pictures import Image
from robowm.evaluation.plots import error_by_horizon

STAGES = ("collect", "train", "evaluate", "imagine", "plan")
SCRIPTS = Path(__file__).parent


@dataclasses.dataclass
class Demo:
    """The whole configuration.

    Attributes:
      out: folder of everything that is made; report.html is in it.
      minutes: wall time of it all, set-up included.
      kept_minutes: of these, for what comes after training.
      shortest_training_minutes: given to training even where the time is over.
      started: when the time began, in seconds since 1970; none is now.
      task: what is learned.
      collect, train, evaluate, imagine, plan: settings handed to the script of that name.
    """

    out: str = "outputs/demo"
    minutes: float = 19.0
    kept_minutes: float = 5.0
    shortest_training_minutes: float = 6.0
    started: float | None = None
    task: str = "grasp_rotate_place"
    collect: list[str] = field(default_factory=list)
    train: list[str] = field(default_factory=list)
    evaluate: list[str] = field(default_factory=list)
    imagine: list[str] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)


class Diary:
    """What is done, how long it took, and how long training may take: OUT/demo.json."""

    def __init__(self, path: Path):
        self._path = path
        self._entries: dict[str, Any] = {}
        if path.is_file():
            try:
                self._entries = json.loads(path.read_text())
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path} is damaged ({error}): remove it to begin again."
                ) from error

    def get(self, stage: str, command: list[str]) -> dict[str, Any]:
        """The entry of ``stage``, if it was this very command."""
        entry = self._entries.get(stage, {})
        return dict(entry) if entry.get("command") == command else {}

    def put(self, stage: str, entry: dict[str, Any]) -> None:
        self._entries[stage] = entry
        self._path.parent.mkdir(parents=True, exist_ok=True)
        report.write_json(self._path, self._entries)

    def seconds(self) -> dict[str, float]:
        return {s: self._entries[s]["seconds"] for s in STAGES if "seconds" in self._entries[s]}


def main(config: Demo) -> int:
    console = Console(highlight=False)
    started = config.started or time.time()
    out = Path(config.out)
    diary = Diary(out / "demo.json")
    again = False  # what follows a stage that was made again is made again
    for number, stage in enumerate(STAGES, 1):
        command = settings(config, stage)
        entry = {} if again else diary.get(stage, command)
        spent = time.time() - started
        console.rule(
            f"[bold]{number}/{len(STAGES)} {stage}[/]  {spent / 60:.1f} of {config.minutes:g} minutes"
        )
        if "seconds" in entry:
            console.print(f"done before, in {entry['seconds']:.0f} s")
            continue
        again = again or (stage in ("collect", "train") and not entry)
        entry["command"] = command
        budget: list[str] = []
        if stage == "train":  # the time is settled once, so that a second call resumes the same run
            entry.setdefault("minutes", training_minutes(config, spent))
            diary.put(stage, entry)
            budget = ["learning.updates=null", f"learning.minutes={entry['minutes']}"]
        begun = time.monotonic()
        if code := run([sys.executable, str(SCRIPTS / f"{stage}.py"), *budget, *command]):
            console.print(f"{stage} did not finish; the same command again goes on from here.")
            return code
        diary.put(stage, entry | {"seconds": time.monotonic() - begun})
    path = write_report(out, config, diary.seconds())
    console.rule(f"[bold green]{path}[/]  {(time.time() - started) / 60:.1f} minutes")
    return 0


def settings(config: Demo, stage: str) -> list[str]:
    """The command line of a stage, but for training's time."""
    out = Path(config.out)
    mine = getattr(config, stage)
    here = [f"out={out / stage}"]
    if stage == "collect":
        return [f"task={config.task}", *here, *mine]
    if stage == "train":
        return [f"task={config.task}", f"data={out / 'collect'}", *here, *mine]
    return [f"checkpoint={out / 'train'}", *here, *mine]


def training_minutes(config: Demo, spent_s: float) -> float:
    left = config.minutes - config.kept_minutes - spent_s / 60
    return round(max(left, config.shortest_training_minutes), 2)


def run(command: list[str]) -> int:
    """Run to the end; an interrupt reaches the script too, which then finishes its checkpoint."""
    with subprocess.Popen(command) as process:
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            while True:
                try:
                    code = process.wait()
                    return code if code >= 0 else 128 - code
                except KeyboardInterrupt:
                    continue
        finally:
            signal.signal(signal.SIGTERM, before)


def write_report(out: Path, config: Demo, seconds: dict[str, float]) -> Path:
    """One page from what the stages wrote; each stage's own page says more."""
    results = json.loads((out / "evaluate" / "report.json").read_text())
    page = evaluation_page(results)
    page.title = f"robowm: {config.task}, from nothing"
    page.section(
        "One plan, and what then happened",
        report.video((out / "plan" / "episode.mp4").read_bytes()),
        report.image(picture(out / "plan" / "plan_card.png"), "The plan card."),
    )
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


def picture(path: Path) -> Image:
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)


if __name__ == "__main__":
    cli.run(main, "demo")
