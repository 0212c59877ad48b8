"""What may go wrong with an arm's driver, switched on from outside to test whoever listens to it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from robowm.dispatch.wire.messages import JointState

KINDS = ("freeze_s", "stuck_s", "nan_s", "dead_s", "clock_jump_s")


class Faults:
    """Switches that end by themselves. Times are on one clock of the caller's.

    ``freeze_s``: joint states repeat the last one, stamp and all. ``stuck_s``: their numbers stay, stamps
    go on. ``nan_s``: their positions are no numbers. ``dead_s``: nothing is published and nothing
    obeyed. Each lasts so long; 0 ends it. ``clock_jump_s``: the driver's clock jumps by so much, for good.

    Attributes:
      clock_jump_s: all jumps together.
    """

    def __init__(self) -> None:
        self._until = dict.fromkeys(KINDS, -math.inf)
        self._last: JointState | None = None
        self.clock_jump_s = 0.0

    def switch(self, asked: object, now_s: float) -> None:
        """Raises ValueError, with nothing switched, for what is no mapping of :data:`KINDS` to numbers."""
        if not isinstance(asked, dict) or not asked or not asked.keys() <= set(KINDS):
            raise ValueError(f"a fault is a JSON object with keys among {', '.join(KINDS)}")
        if not all(isinstance(s, int | float) and not math.isnan(s) for s in asked.values()):
            raise ValueError("a fault's time is no number")
        if math.isinf(asked.get("clock_jump_s", 0.0)):
            raise ValueError("a clock does not jump for ever")
        spans = dict(asked)
        self.clock_jump_s += spans.pop("clock_jump_s", 0.0)
        self._until |= {kind: now_s + span for kind, span in spans.items()}

    def has(self, kind: str, now_s: float) -> bool:
        return now_s < self._until[kind]

    def spoil(self, state: JointState, now_s: float) -> JointState:
        """What is published in place of ``state``."""
        if self._last is not None and self.has("freeze_s", now_s):
            return self._last
        if self._last is not None and self.has("stuck_s", now_s):
            return dataclasses.replace(self._last, stamp_s=state.stamp_s)
        if self.has("nan_s", now_s):
            return dataclasses.replace(state, position=np.full_like(state.position, np.nan))
        self._last = state
        return state
