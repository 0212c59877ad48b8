"""What an episode came to, counted from its records as it goes on."""

from __future__ import annotations

from typing import Any

import numpy as np

from robowm.dispatch.record.records import (
    Event,
    Executed,
    Judged,
    Kind,
    Observed,
    Planned,
    Record,
    Sent,
)

COUNTED = (Kind.HOLD, Kind.MISSED, Kind.ESTOP, Kind.EXPIRED, Kind.DECLINED)


class Tally:
    """A listener of one episode.

    Args:
      picture: name of the array whose pictures are kept, one each step.

    Attributes:
      planning_ms, latency_s: of each plan.
      actions: [A] each, as they were done, from the first that was sent on.
      frames: uint8 [H, W, 3] each.
    """

    def __init__(self, picture: str = ""):
        self._picture = picture
        self.planning_ms: list[float] = []
        self.latency_s: list[float] = []
        self.actions: list[np.ndarray] = []
        self.frames: list[np.ndarray] = []
        self._counts = {str(kind): 0 for kind in COUNTED} | {"sent": 0, "rejected": 0}

    def __call__(self, record: Record) -> None:
        counts = self._counts
        if isinstance(record, Planned):
            self.planning_ms.append(record.planning_ms)
            self.latency_s.append(record.latency_s)
        elif isinstance(record, Executed):
            if counts["sent"]:
                self.actions.append(record.action)
        elif isinstance(record, Observed):
            picture = record.observation.arrays.get(self._picture)
            if record.step is not None and picture is not None:
                self.frames.append(picture)
        elif isinstance(record, Judged):
            counts["rejected"] += not record.decision.accepted
        elif isinstance(record, Sent):
            counts["sent"] += record.receipt.accepted
        elif isinstance(record, Event) and record.kind in COUNTED:
            counts[record.kind] += 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what was not measured is NaN."""
        return {
            "steps": len(self.actions),
            "plans": len(self.latency_s),
            "latency_p50_s": self._quantile(0.5),
            "latency_p99_s": self._quantile(0.99),
            **self._counts,
        }

    def summary(self) -> str:
        """For a person."""
        counts = self._counts
        return (
            f"{len(self.actions)} steps, {len(self.latency_s)} plans of {1e3 * self._quantile(0.5):.0f} ms, "
            f"{counts[Kind.MISSED]} late, {counts['rejected']} refused, {counts[Kind.HOLD]} holds"
        )

    def _quantile(self, share: float) -> float:
        return float(np.quantile(self.latency_s, share)) if self.latency_s else float("nan")
