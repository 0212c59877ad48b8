"""Planning against a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

FADE = 0.95  # of the slowest seen, with each one after it


class Pace:
    """Says whether another round would end in time, by the slowest of the last rounds and endings.

    The first plan knows of no ending yet, and may be late by one.

    Args:
      deadline_s: from :meth:`begin`; None allows everything.
      clock: monotonic, in seconds.
    """

    def __init__(self, deadline_s: float | None, clock: Callable[[], float] = time.perf_counter):
        self._deadline_s, self._clock = deadline_s, clock
        self._round_s = self._ending_s = 0.0
        self.begin()

    def begin(self) -> None:
        self._begun_s = self._mark_s = self._clock()
        self.rounds = 0

    def allows_another(self) -> bool:
        self._mark_s = self._clock()
        if self._deadline_s is None:
            return True
        return self._mark_s - self._begun_s + self._round_s + self._ending_s <= self._deadline_s

    def round_ends(self) -> None:
        self._round_s = max(FADE * self._round_s, self._lap())
        self.rounds += 1

    def end(self) -> None:
        """The plan is there: what has passed since the last round was its ending."""
        self._ending_s = max(FADE * self._ending_s, self._lap())

    def _lap(self) -> float:
        before, self._mark_s = self._mark_s, self._clock()
        return self._mark_s - before
