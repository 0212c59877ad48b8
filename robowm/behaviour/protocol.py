"""What acts or proposes without search."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from robowm.models.protocol import Batch, State, WorldModel


class ActionDistribution(Protocol):
    """A distribution over actions [B, A] in [-1, 1]; switch dimensions are -1 or 1."""

    def mode(self) -> Tensor: ...

    def sample(self) -> Tensor: ...

    def log_prob(self, action: Tensor) -> Tensor: ...  # [B]


class Policy(Protocol):
    def __call__(self, feat: Tensor) -> ActionDistribution: ...


class Critic(Protocol):
    def __call__(self, feat: Tensor) -> Tensor:
        """Value of each member of the ensemble: [B, F] -> [E, B]."""
        ...


@runtime_checkable
class Behaviour(Protocol):
    """An ``nn.Module`` with a policy, perhaps a critic, and a loss the trainer adds to the model's."""

    def policy(self, feat: Tensor) -> ActionDistribution: ...

    def loss(
        self, model: WorldModel, batch: Batch, states: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``states`` are the posterior states [B, T, ...] that ``model.loss`` returned."""
        ...
