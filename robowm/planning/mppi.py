"""Model predictive path integral control in a learned model.

Williams et al. 2016, "Aggressive driving with model predictive path integral control", with the
elites, proposals and terminal value of TD-MPC (Hansen et al. 2022, arXiv:2203.04955, algorithm 1).
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from robowm.errors import UserError
from robowm.planning.sampling import SamplingConfig, SamplingPlanner


@dataclasses.dataclass
class MPPIConfig(SamplingConfig):
    """``temperature`` is in standard deviations of the elites' scores, so rewards have any scale."""

    kind: str = "mppi"
    temperature: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise UserError(
                f"planner.temperature is {self.temperature}, expected a number above 0."
            )


class MPPI(SamplingPlanner):
    """Each elite counts by the exponential of its score."""

    config: MPPIConfig

    def weights(self, scores: Tensor) -> Tensor:
        spread = scores.std(1, keepdim=True, correction=0).clamp(min=1e-6)
        return (scores / (self.config.temperature * spread)).softmax(1)
