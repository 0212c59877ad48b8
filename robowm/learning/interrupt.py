"""What may end a run from outside: signals, and a second run in the same folder."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Self

from robowm.errors import UserError


class StopOnSignal(contextlib.AbstractContextManager["StopOnSignal"]):
    """Turns the first SIGTERM or SIGINT into a flag; a second one acts as it would have.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())  # type: ignore[arg-type]


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for this process; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is training into {folder}: wait for it, stop it, or give "
                "another `out`."
            ) from None
        yield
