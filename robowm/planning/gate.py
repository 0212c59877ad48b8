"""How far an imagined path is to be believed."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from torch import Tensor

from robowm.errors import UserError


class Gate(Protocol):
    def __call__(self, epistemic: Tensor) -> Tensor:
        """Disagreement along the path [B, H] -> number of steps to be trusted [B], integer."""
        ...


@dataclasses.dataclass
class GateConfig:
    """``threshold`` bounds the cumulative disagreement, in the units of ``model.epistemic``."""

    threshold: float = float("inf")

    def __post_init__(self) -> None:
        if not self.threshold >= 0:
            raise UserError(f"gate.threshold is {self.threshold}, expected a number >= 0.")


class ThresholdGate:
    """Trusts the longest prefix whose cumulative disagreement stays within the threshold."""

    def __init__(self, config: GateConfig):
        self.config = config

    def __call__(self, epistemic: Tensor) -> Tensor:
        # A NaN compares false, and cumprod closes the gate for all that follows it.
        within = epistemic.cumsum(1) <= self.config.threshold
        return within.long().cumprod(1).sum(1)
