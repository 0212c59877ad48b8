"""Whose clock stamps are on, and how old what they stamp is."""

from __future__ import annotations

import collections
import math


class StampClock:
    """Another machine's clock, by the stamps of its messages and when they arrive here.

    The message that travelled fastest tells best how the two clocks differ, so that neither has to be
    right: an age counts from when that message would have arrived. A clock that is set, forwards or
    back, is noticed; nothing has an age until the new one has been steady.

    Args:
      jump_s: beyond which a change is not the network's but the clock's.
      steady: messages in a row after which a clock is believed.
      window_s: for how long a message counts: clocks drift.
    """

    def __init__(self, jump_s: float = 0.2, steady: int = 5, window_s: float = 10.0):
        self.jumps = 0
        self._jump_s, self._needed, self._window_s = jump_s, steady, window_s
        self._stamp_s = -math.inf
        self._difference_s = 0.0
        self._in_a_row = 0
        # (received, received - stamp), both growing: the first is the smallest difference in the window.
        self._smallest: collections.deque[tuple[float, float]] = collections.deque()

    def hear(self, stamp_s: float, received_s: float) -> bool:
        """Whether the message is newer than those before it; if not, it is to be left aside.

        Args:
          received_s: on this machine's monotonic clock.
        """
        difference = received_s - stamp_s
        if self._smallest and (
            stamp_s < self._stamp_s - self._jump_s
            or difference < self._smallest[0][1] - self._jump_s
        ):
            self.jumps += 1
            self._in_a_row = 0
            self._smallest.clear()
        elif stamp_s <= self._stamp_s:
            return False
        self._stamp_s = stamp_s
        self._in_a_row += 1
        while self._smallest and self._smallest[-1][1] >= difference:
            self._smallest.pop()
        self._smallest.append((received_s, difference))
        while self._smallest[0][0] < received_s - self._window_s:
            self._smallest.popleft()
        self._difference_s = self._smallest[0][1]
        return True

    @property
    def steady(self) -> bool:
        return self._in_a_row >= self._needed

    def now(self, monotonic_s: float) -> float:
        """What that clock shows when this machine's monotonic clock shows so much."""
        return monotonic_s - self._difference_s

    def age(self, stamp_s: float, monotonic_s: float) -> float:
        """Of what has that stamp; infinite while the clock is not steady."""
        return max(0.0, self.now(monotonic_s) - stamp_s) if self.steady else math.inf
