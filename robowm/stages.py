"""Scripts one after the other, each with its settings; the same command again goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from robowm.errors import UserError
from robowm.evaluation.report import write_json

POLL_S = 0.2  # between looks at stages that run side by side


@dataclasses.dataclass(frozen=True)
class Stage:
    """Attributes:
    name: of the stage, and of its folder.
    script: in scripts/, without suffix.
    settings: its command line.
    needs: stages after which it must run again when they did.
    """

    name: str
    script: str
    settings: tuple[str, ...]
    needs: tuple[str, ...] = ()


def run_all(
    stages: Sequence[Stage], out: Path, scripts: Path, console: Console, jobs: int = 1
) -> tuple[int, Mapping[str, float]]:
    """Run what is not done yet: an exit status, 0 where all is, and the seconds of each stage.

    What was done with which settings stands in OUT/stages.json. One after the other, the first that fails
    ends it.

    Args:
      jobs: stages that run at once, each when what it needs is done. Of several, each writes to
        OUT/logs/NAME.log, and one that fails only keeps those from running that need it.
    """
    if jobs > 1:
        return _run_together(stages, out, scripts, console, jobs)
    diary = Diary(out / "stages.json")
    again: set[str] = set()  # what was made anew, and so makes anew what follows from it
    for number, stage in enumerate(stages, 1):
        console.rule(f"[bold]{number}/{len(stages)} {stage.name}[/]")
        anew = diary.is_anew(stage, again)
        if diary.is_done(stage) and not anew:
            console.print(f"done before, in {diary.seconds()[stage.name]:.0f} s")
            continue
        again.update([stage.name] if anew else [])
        diary.begin(stage)
        begun = time.monotonic()
        if code := run(_command(stage, scripts)):
            console.print(f"{stage.name} did not finish; the same command again goes on from here.")
            return code, diary.seconds()
        diary.end(stage, time.monotonic() - begun)
    return 0, diary.seconds()


def _run_together(
    stages: Sequence[Stage], out: Path, scripts: Path, console: Console, jobs: int
) -> tuple[int, Mapping[str, float]]:
    diary = Diary(out / "stages.json")
    waiting, done, again = list(stages), set[str](), set[str]()
    running: dict[str, _Running] = {}
    worst = 0
    (out / "logs").mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while True:
            for stage in list(waiting):
                if not done.issuperset(stage.needs):
                    continue
                anew = diary.is_anew(stage, again)
                if diary.is_done(stage) and not anew:
                    waiting.remove(stage)
                    done.add(stage.name)
                elif len(running) < jobs:
                    waiting.remove(stage)
                    again.update([stage.name] if anew else [])
                    diary.begin(stage)
                    running[stage.name] = _Running(stage, scripts, out / "logs")
                    console.print(f"{stage.name} begins")
            if not running:
                break
            time.sleep(POLL_S)
            for name, process in list(running.items()):
                if (code := process.poll()) is None:
                    continue
                del running[name]
                if code:
                    worst = max(worst, code if code > 0 else 128 - code)
                    console.print(f"{name} did not finish: see {process.log}", soft_wrap=True)
                    continue
                diary.end(process.stage, process.seconds)
                done.add(name)
                console.print(f"{name} done in {process.seconds / 60:.1f} minutes")
    except KeyboardInterrupt:
        for process in running.values():  # each finishes its checkpoint
            process.stop()
        console.print("stopped; the same command again goes on from here.")
        return 130, diary.seconds()
    finally:
        signal.signal(signal.SIGTERM, before)
    if waiting:
        left = ", ".join(stage.name for stage in waiting)
        console.print(f"not run: {left}; the same command again goes on.", soft_wrap=True)
    return worst, diary.seconds()


class _Running:
    """A stage in a process of its own, whose words go to a file."""

    def __init__(self, stage: Stage, scripts: Path, logs: Path):
        self.stage, self.log = stage, logs / f"{stage.name}.log"
        self._begun = time.monotonic()
        with self.log.open("a") as file:
            self._process = subprocess.Popen(
                _command(stage, scripts), stdout=file, stderr=subprocess.STDOUT
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _command(stage: Stage, scripts: Path) -> list[str]:
    return [sys.executable, str(scripts / f"{stage.script}.py"), *stage.settings]


class Diary:
    """What was begun with which settings, and how long it took."""

    def __init__(self, path: Path):
        self._path = path
        self._entries: dict[str, dict[str, Any]] = {}
        if path.is_file():
            try:
                self._entries = json.loads(path.read_text())
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path} is damaged ({error}): remove it to begin again."
                ) from error

    def knows(self, stage: Stage) -> bool:
        """Whether it was begun with these settings."""
        return self._entries.get(stage.name, {}).get("settings") == list(stage.settings)

    def is_anew(self, stage: Stage, again: set[str]) -> bool:
        """Whether it begins from nothing: with other settings, or on what was made anew, ``again``."""
        return not self.knows(stage) or bool(again.intersection(stage.needs))

    def is_done(self, stage: Stage) -> bool:
        return self.knows(stage) and "seconds" in self._entries[stage.name]

    def begin(self, stage: Stage) -> None:
        self._put(stage, {"settings": list(stage.settings)})

    def end(self, stage: Stage, seconds: float) -> None:
        self._put(stage, {"settings": list(stage.settings), "seconds": seconds})

    def seconds(self) -> dict[str, float]:
        return {name: e["seconds"] for name, e in self._entries.items() if "seconds" in e}

    def _put(self, stage: Stage, entry: dict[str, Any]) -> None:
        self._entries[stage.name] = entry
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, self._entries)


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
