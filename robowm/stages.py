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
    stages: Sequence[Stage], out: Path, scripts: Path, console: Console
) -> tuple[int, Mapping[str, float]]:
    """Run what is not done yet: an exit status, 0 where all is, and the seconds of each stage.

    What was done with which settings stands in OUT/stages.json.
    """
    diary = Diary(out / "stages.json")
    again: set[str] = set()  # what was made anew, and so makes anew what follows from it
    for number, stage in enumerate(stages, 1):
        console.rule(f"[bold]{number}/{len(stages)} {stage.name}[/]")
        known = diary.knows(stage)
        if diary.is_done(stage) and not again.intersection(stage.needs):
            console.print(f"done before, in {diary.seconds()[stage.name]:.0f} s")
            continue
        if not known or again.intersection(stage.needs):
            again.add(stage.name)
        diary.begin(stage)
        begun = time.monotonic()
        if code := run([sys.executable, str(scripts / f"{stage.script}.py"), *stage.settings]):
            console.print(f"{stage.name} did not finish; the same command again goes on from here.")
            return code, diary.seconds()
        diary.end(stage, time.monotonic() - begun)
    return 0, diary.seconds()


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
