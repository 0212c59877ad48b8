"""The planner beside the control loop: a process that is asked, watched and started anew, and never
waited for."""

from __future__ import annotations

import enum
import logging
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from robowm.dispatch.online.planner_child import Answer, Failure, Request, main
from robowm.planning.agent import BeliefAgent

logger = logging.getLogger(__name__)
END_S = 2.0  # that a process or thread is given to end


class PlannerState(enum.StrEnum):
    """``OFF`` -> ``STARTING`` -> ``READY`` <-> ``BUSY``; ``DEAD`` from any but off, left by restart."""

    OFF = "off"
    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    DEAD = "dead"


class PlannerProcess:
    """One request is under way at a time. No method blocks but :meth:`close`, which takes moments.

    Args:
      make: makes the agent, in the new process; it is pickled, and so are its ``arguments``.

    Attributes:
      state: as of the last :meth:`answer`.
      error: why it is dead.
      starts: how many processes there have been.
    """

    def __init__(self, make: Callable[..., BeliefAgent], *arguments: Any):
        self._make, self._arguments = make, arguments
        self._process: Any = None
        self.state, self.error, self.starts = PlannerState.OFF, "", 0
        self._asked_s = 0.0

    def start(self) -> None:
        """Begin to load; :meth:`answer` tells when that is done."""
        self._process, connection = self._launch()
        self._to: queue.Queue[Request | None] = queue.Queue()
        self._from: queue.Queue[Any] = queue.Queue()
        # A thread talks to it: a process that is stuck halfway through a message keeps who reads waiting.
        self._thread = threading.Thread(
            target=_talk, args=(connection, self._to, self._from), daemon=True, name="planner"
        )
        self._thread.start()
        self.state, self.error = PlannerState.STARTING, ""
        self.starts += 1

    def restart(self) -> None:
        """End what there is and begin anew: nothing of the old one's is left."""
        self.close()
        self.start()

    def close(self) -> None:
        if self._process is not None:
            self._to.put(None)
            self._process.kill()
            self._process.join(END_S)
            self._thread.join(END_S)
            self._process = None
        self.state = PlannerState.OFF

    def give_up(self, reason: str) -> None:
        """It is of no use any more."""
        if self._process is not None:
            self._process.kill()
        self._die(reason)

    def ask(self, request: Request) -> None:
        """Hand over a request; only where the state is ready."""
        if self.state is not PlannerState.READY:
            raise RuntimeError(f"the planner is {self.state}")
        self._to.put(request)
        self.state, self._asked_s = PlannerState.BUSY, time.monotonic()

    @property
    def pid(self) -> int | None:
        """Of the process, where there is one."""
        return getattr(self._process, "pid", None)

    @property
    def busy_s(self) -> float:
        """For how long it has been busy; 0 where it is not."""
        return time.monotonic() - self._asked_s if self.state is PlannerState.BUSY else 0.0

    def answer(self) -> Answer | None:
        """To the last request, once; meanwhile notices what has become of the process."""
        if self.state in (PlannerState.OFF, PlannerState.DEAD):
            return None
        alive = self._process.is_alive()  # asked before the queue is: what it sent still counts
        try:
            news = self._from.get_nowait()
        except queue.Empty:
            # One that is dead may have said why, which the thread is about to read.
            silent = self.state is PlannerState.READY or not self._thread.is_alive()
            if silent and not alive:
                self._die(f"the planner's process ended with exit code {self._process.exitcode}")
            return None
        if isinstance(news, Failure):
            if news.trace:
                logger.error("the planner failed:\n%s", news.trace)
            self._die(news.reason)
            return None
        self.state = PlannerState.READY
        return news if isinstance(news, Answer) else None

    def _launch(self) -> tuple[Any, Connection]:
        """A process, and our end of the line to it."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=main, args=(theirs, self._make, self._arguments), daemon=True, name="planner"
        )
        process.start()
        theirs.close()  # so that its end is the end of the line
        return process, ours

    def _die(self, reason: str) -> None:
        self.state, self.error = PlannerState.DEAD, reason


def _talk(
    connection: Connection, requests: queue.Queue[Request | None], answers: queue.Queue[Any]
) -> None:
    """Carry one request there and its answer back, and so on until the process or the asker ends."""
    try:
        with connection:
            answers.put(connection.recv())  # that it is ready
            while (request := requests.get()) is not None:
                connection.send(request)
                answers.put(connection.recv())
    except (EOFError, OSError):
        pass  # that the process has ended is seen by who polls
    except Exception as error:
        answers.put(Failure(f"what it sent could not be read: {error}"))
