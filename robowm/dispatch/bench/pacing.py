"""A loop in real time: turns that are due, and what became of those that came late."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator


class Pacer:
    """Turns are due every ``period_s`` of a monotonic clock.

    After a late awakening those that were missed are made up for, one right after the other. What is
    later than ``patience_s`` is given up instead: time stood still for so long.

    Attributes:
      due_s: when the first turn is due that has not been handed out, on that clock.
      turns: handed out.
      overruns: of them, those that began a period or more after they were due.
      worst_s: how late one began.
      lost_s: time that was given up.
    """

    def __init__(
        self,
        period_s: float,
        patience_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._period_s, self._patience_s = period_s, patience_s
        self._clock, self._sleep = clock, sleep
        self.turns = self.overruns = 0
        self.worst_s = self.lost_s = 0.0
        self.due_s = clock()

    def start(self) -> None:
        """The first turn is due now."""
        self.due_s = self._clock()

    def wait(self) -> int:
        """Sleep until a turn is due; how many are due by then, 1 or more."""
        early_s = self.due_s - self._clock()
        if early_s > 0:
            self._sleep(early_s)
        late_s = max(self._clock() - self.due_s, 0.0)
        self.worst_s = max(self.worst_s, late_s)
        if late_s > self._patience_s:
            self.lost_s += late_s
            self.due_s += late_s
            self.overruns += 1
            late_s = 0.0
        missed = int(late_s / self._period_s)
        self.overruns += missed
        self.turns += missed + 1
        self.due_s += (missed + 1) * self._period_s
        return missed + 1


class Every:
    """Says when something is due that comes ``hz`` times a second."""

    def __init__(self, hz: float):
        self._period_s = 1 / hz if hz > 0 else math.inf
        self._next_s = -math.inf

    def due(self, now_s: float) -> bool:
        if self._period_s == math.inf or now_s < self._next_s - 1e-9:
            return False
        late_s = now_s - self._next_s
        self._next_s = (now_s if late_s > self._period_s else self._next_s) + self._period_s
        return True


@contextlib.contextmanager
def realtime(priority: int) -> Iterator[bool]:
    """Run this thread, and those that it starts, before all that are in no hurry (SCHED_FIFO), where the
    system lets us.

    Args:
      priority: 1 to 99; 0 asks for nothing.

    Yields:
      Whether it is so. A user needs a limit ``rtprio`` or the capability CAP_SYS_NICE.
    """
    granted = False
    if priority and hasattr(os, "SCHED_FIFO"):
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
            granted = True
    try:
        yield granted
    finally:
        if granted:
            os.sched_setscheduler(0, *before)
