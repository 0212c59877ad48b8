"""What a dispatcher is doing, at a glance."""

from __future__ import annotations

import collections
import dataclasses
import enum

import numpy as np

SEEN = 200  # of the last latencies


class Mode(enum.StrEnum):
    """``SHADOW``: nothing leaves. ``CONFIRM``: an operator approves each plan. ``AUTO``: none is asked."""

    SHADOW = "shadow"
    CONFIRM = "confirm"
    AUTO = "auto"


class State(enum.StrEnum):
    """``WAITING`` for arm, observations or planner; ``RUNNING``; ``OFFERING`` a plan and waiting for the
    operator; ``HOLDING``, as something is amiss; ``STOPPED`` by an emergency stop, until reset."""

    WAITING = "waiting"
    RUNNING = "running"
    OFFERING = "offering"
    HOLDING = "holding"
    STOPPED = "stopped"


@dataclasses.dataclass(frozen=True)
class Status:
    """Attributes:
    reason: of the state; empty while it runs.
    plan_id: of the last plan.
    offered: id of the plan that waits for approval, or empty.
    steps: of this episode.
    plans, sent: that came, and whose chunks the arm took.
    deadline_misses: steps that began while the plan that was to begin with them had not come.
    late_turns: of the control loop.
    observation_age_s, stamp_s: of the newest.
    latency_p50_s, latency_p99_s: from an observation to the plan made of it; NaN before the first.
    planner: its state.
    planner_starts: how many processes there have been.
    """

    mode: Mode
    state: State
    reason: str
    plan_id: str
    offered: str
    episode: int
    steps: int
    plans: int
    sent: int
    deadline_misses: int
    late_turns: int
    rejections: int
    holds: int
    observation_age_s: float
    stamp_s: float
    latency_p50_s: float
    latency_p99_s: float
    lead_steps: int
    planner: str
    planner_starts: int


@dataclasses.dataclass
class Counts:
    """Of one dispatcher since its start."""

    plans: int = 0
    sent: int = 0
    deadline_misses: int = 0
    late_turns: int = 0
    rejections: int = 0
    holds: int = 0


class Latencies:
    """The last few, in seconds."""

    def __init__(self) -> None:
        self._seen: collections.deque[float] = collections.deque(maxlen=SEEN)

    def add(self, latency_s: float) -> None:
        self._seen.append(latency_s)

    def values(self) -> np.ndarray:
        return np.array(list(self._seen))  # one copy: another thread may be adding

    def quantile(self, share: float) -> float:
        seen = self.values()
        return float(np.quantile(seen, share)) if len(seen) else float("nan")
