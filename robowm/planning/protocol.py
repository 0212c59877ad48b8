"""What a planner returns, and how it is asked."""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

from torch import Tensor

from robowm.models.protocol import State


@dataclasses.dataclass
class Plan:
    """The outcome of one planning call for B beliefs.

    Attributes:
      action: [B, A], to execute now.
      sequence: [B, H, A], the whole imagined plan; ``sequence[:, 0] == action``.
      value: [B], predicted return of the sequence, terminal value included.
      success: [B], predicted probability of success, NaN where the model has no such head.
      epistemic: [B, H], disagreement at each step, zeros where the model has no ensemble.
      trusted_steps: [B], integer, how many steps the trust gate lets through.
      states: H imagined states after each action, to decode; every leaf [B, ...].
      planning_time_ms: wall time of the call.
      rounds: of search, where a planner does it in rounds and may be short of time.
    """

    action: Tensor
    sequence: Tensor
    value: Tensor
    success: Tensor
    epistemic: Tensor
    trusted_steps: Tensor
    states: list[State]
    planning_time_ms: float
    rounds: int = 0


@runtime_checkable
class Planner(Protocol):
    horizon: int

    def plan(self, state: State, warm_start: Plan | None = None) -> Plan:
        """``warm_start`` is the plan of the step before: it is shifted by one and refined."""
        ...
