"""Cloning the demonstrator from the model's features."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from robowm.models.protocol import Batch, State, WorldModel, detach_state
from robowm.nets.blocks import mlp
from robowm.nets.distributions import MixedAction
from robowm.spec import ActionSpec


class PolicyHead(nn.Module):
    """[..., F] -> a distribution over actions, with standard deviations in [min_std, max_std]."""

    switch: Tensor

    def __init__(
        self,
        feat_size: int,
        action: ActionSpec,
        hidden: int,
        layers: int,
        min_std: float = 0.1,
        max_std: float = 1.0,
    ):
        super().__init__()
        self.net = mlp(feat_size, hidden, layers, 3 * action.size, scale=0.1)
        self.min_std, self.max_std = min_std, max_std
        self.register_buffer("switch", torch.tensor(action.switch), False)

    def forward(self, feat: Tensor) -> MixedAction:
        rows = feat.reshape(-1, feat.shape[-1])  # of several axes a product may become many
        mean, std, logit = self.net(rows).float().unflatten(0, feat.shape[:-1]).chunk(3, -1)
        std = self.min_std + (self.max_std - self.min_std) * torch.sigmoid(std)
        return MixedAction(torch.tanh(mean), std, logit, self.switch)


@dataclasses.dataclass
class CloningConfig:
    kind: str = "cloning"
    hidden: int = 512
    layers: int = 3
    scale: float = 1.0
    gradient_to_model: bool = True  # lets what matters for acting shape the latent


class Cloning(nn.Module):
    """The negative log-likelihood of the demonstrator's label, at every recorded belief."""

    def __init__(self, config: CloningConfig, feat_size: int, action_spec: ActionSpec):
        super().__init__()
        self.config = config
        self.head = PolicyHead(feat_size, action_spec, config.hidden, config.layers)

    def policy(self, feat: Tensor) -> MixedAction:
        return self.head(feat)

    def loss(
        self, model: WorldModel, batch: Batch, states: State
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if not self.config.gradient_to_model:
            states = detach_state(states)
        loss, metrics = imitation(self.policy(model.feat(states)), batch)
        return self.config.scale * loss, metrics

    def echo(self, model: WorldModel, batch: Batch, states: State) -> Tensor:
        """The loss again, for the policy alone."""
        return imitation(self.policy(model.feat(states)), batch)[0]


def imitation(policy: MixedAction, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean negative log-likelihood of ``expert_action`` where there is one; where there is none it is
    NaN."""
    label = batch["expert_action"]
    weight = batch["has_action"] * ~label.isnan().any(-1)
    label = label.nan_to_num()
    count = weight.sum().clamp(min=1)
    loss = -(policy.log_prob(label) * weight).sum() / count
    error = (policy.mode() - label).abs()
    free = (error * ~policy.switch).sum(-1) / (~policy.switch).sum()
    wrong = ((error > 1) & policy.switch).any(-1).float()
    return loss, {
        "loss": loss.detach(),
        "action_error": (free * weight).sum().detach() / count,
        "switch_error": (wrong * weight).sum().detach() / count,
    }
