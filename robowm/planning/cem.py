"""The cross-entropy method (Rubinstein 1999; for planning: Chua et al. 2018, arXiv:1805.12114)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from robowm.planning.sampling import SamplingConfig, SamplingPlanner


@dataclasses.dataclass
class CEMConfig(SamplingConfig):
    kind: str = "cem"
    elites: int = 16


class CEM(SamplingPlanner):
    """Each elite counts the same."""

    def weights(self, scores: Tensor) -> Tensor:
        return torch.full_like(scores, 1 / scores.shape[1])
