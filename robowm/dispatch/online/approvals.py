"""Plans that an operator is asked about, one at a time, each by its id and for a limited time."""

from __future__ import annotations

import dataclasses
import enum
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robowm.dispatch.record.records import Frames, plain


@dataclasses.dataclass(frozen=True)
class Card:
    """What an operator is shown of a plan.

    Attributes:
      success: predicted probability; NaN where the model foretells none.
      trusted_steps: how far the model may be believed, of ``actions`` steps.
      actions: [H, A] that would be done, ``step_s`` each.
      duration_s: until the arm is at rest again.
      margins: what is left to each limit, as a share of it: 1 far from it, 0 at it.
      frames: [H + 1, ...] what is believed and then imagined, by camera.
      approval_s: for how long it may be approved.
    """

    plan_id: str
    value: float
    success: float
    trusted_steps: int
    actions: np.ndarray
    step_s: float
    duration_s: float
    margins: Mapping[str, float]
    planning_ms: float
    approval_s: float
    frames: Mapping[str, Frames] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON, without the pictures."""
        return plain(dataclasses.replace(self, frames={}))  # type: ignore[no-any-return]

    def lines(self) -> list[str]:
        """For a person, a few short lines."""
        share = "not foretold" if np.isnan(self.success) else f"{100 * self.success:.0f}%"
        return [
            f"{self.plan_id}: {len(self.actions)} steps, {self.duration_s:.1f} s",
            f"  predicted success {share}, value {self.value:.2f}, trusted steps {self.trusted_steps}",
            "  margins "
            + ", ".join(f"{name} {100 * left:.0f}%" for name, left in self.margins.items()),
        ]


class Verdict(enum.StrEnum):
    APPROVED = "approved"
    DECLINED = "declined"
    EXPIRED = "expired"


Answer = tuple[bool, str]  # whether it was done, and a sentence


class Approvals:
    """Between a dispatcher, which offers, and an operator on any thread, who answers.

    Args:
      clock: monotonic seconds.

    Attributes:
      viewers: called with each card that is offered, on the dispatcher's thread: they return soon.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self.viewers: list[Callable[[Card], None]] = []
        self._lock = threading.Lock()
        self._card: Card | None = None
        self._until_s = 0.0
        self._verdict: Verdict | None = None

    @property
    def pending(self) -> Card | None:
        """The card that can be answered now."""
        with self._lock:
            return self._card if self._verdict is None and not self._late() else None

    def offer(self, card: Card) -> None:
        """In place of what was offered before."""
        with self._lock:
            self._card, self._verdict = card, None
            self._until_s = self._clock() + card.approval_s
        for show in self.viewers:
            show(card)

    def withdraw(self) -> None:
        """Nothing is offered any more."""
        with self._lock:
            self._card, self._verdict = None, None

    def verdict(self, plan_id: str) -> Verdict | None:
        """What has become of the plan that was offered, None while it is open; a verdict is given once.

        One that is not offered any more has expired.
        """
        with self._lock:
            if self._card is None or self._card.plan_id != plan_id:
                return Verdict.EXPIRED
            verdict = self._verdict or (Verdict.EXPIRED if self._late() else None)
            if verdict is not None:
                self._card, self._verdict = None, None
            return verdict

    def approve(self, plan_id: str) -> Answer:
        """Exactly that plan."""
        return self._decide(plan_id, Verdict.APPROVED)

    def reject(self, plan_id: str) -> Answer:
        return self._decide(plan_id, Verdict.DECLINED)

    def _decide(self, plan_id: str, verdict: Verdict) -> Answer:
        with self._lock:
            if self._card is None:
                return False, f"{plan_id} is not offered: nothing is."
            if self._card.plan_id != plan_id:
                return False, f"{plan_id} is not offered: {self._card.plan_id} is."
            if self._verdict is not None:
                return False, f"{plan_id} was {self._verdict} already."
            if self._late():
                return (
                    False,
                    f"{plan_id} has expired: it was offered for {self._card.approval_s:.0f} s.",
                )
            self._verdict = verdict
            return True, f"{plan_id} is {verdict}."

    def _late(self) -> bool:
        return self._clock() > self._until_s
