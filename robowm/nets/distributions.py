"""Distributions and scalar codes of DreamerV3 (arXiv:2301.04104), and the action distribution."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def symlog(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.expm1(x.abs())


class TwoHot(nn.Module):
    """Scalars as a categorical over bins that are evenly spaced in symlog space (eq. 8 to 10).

    ``low`` and ``high`` bound the scalar itself; a target between two bins is split between them.
    """

    bins: Tensor

    def __init__(self, count: int, low: float, high: float):
        super().__init__()
        begin, end = (math.copysign(math.log1p(abs(bound)), bound) for bound in (low, high))
        self.register_buffer("bins", torch.linspace(begin, end, count), False)

    def mean(self, logits: Tensor) -> Tensor:
        """[..., bins] -> [...]: the expectation of the bins' values, taken in linear space."""
        return (torch.softmax(logits.float(), -1) * symexp(self.bins)).sum(-1)

    def target(self, value: Tensor) -> Tensor:
        """[...] -> [..., bins]: two neighbouring bins weighted so that ``mean`` gives ``value``."""
        bins = symexp(self.bins)
        value = value.float().clamp(bins[0], bins[-1])
        upper = torch.searchsorted(bins, value.contiguous()).clamp(1, len(bins) - 1)
        lower = upper - 1
        share = (value - bins[lower]) / (bins[upper] - bins[lower])
        target = torch.zeros(*value.shape, len(bins), device=value.device)
        target.scatter_(-1, lower[..., None], (1 - share)[..., None])
        return target.scatter_(-1, upper[..., None], share[..., None])

    def loss(self, logits: Tensor, value: Tensor) -> Tensor:
        """Cross entropy with the two-hot target: [..., bins], [...] -> [...]."""
        return -(self.target(value) * torch.log_softmax(logits.float(), -1)).sum(-1)


def unimix_log_probs(logits: Tensor, unimix: float) -> Tensor:
    """Log-probabilities of [..., S, C] logits mixed with ``unimix`` of the uniform distribution."""
    probs = torch.softmax(logits.float(), -1)
    return torch.log((1 - unimix) * probs + unimix / logits.shape[-1])


def one_hot(scores: Tensor) -> Tensor:
    """The largest of each row, as float32: [..., C] -> [..., C]."""
    index = scores.argmax(-1, keepdim=True)
    return torch.zeros(scores.shape, device=scores.device).scatter_(-1, index, 1.0)


def straight_through(log_probs: Tensor, gumbel: Tensor | None) -> Tensor:
    """One-hot sample (or mode without ``gumbel`` noise) whose gradient is that of the probabilities."""
    hard = one_hot(log_probs if gumbel is None else log_probs + gumbel)
    if not log_probs.requires_grad:
        return hard
    probs = log_probs.exp()
    return hard + probs - probs.detach()


def gumbel_like(shape: tuple[int, ...], device: torch.device) -> Tensor:
    return -torch.log(torch.empty(shape, device=device).exponential_())


def categorical_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of [..., S, C], summed over the S latents: [...]."""
    return (log_p.exp() * (log_p - log_q)).sum((-1, -2))


class MixedAction:
    """Independent normals inside (-1, 1) for continuous dimensions, a coin for each switch.

    Args:
      mean: [B, A] in [-1, 1]; std: [B, A]; logit: [B, A], of the switch being on; switch: [A] bool.
    """

    def __init__(self, mean: Tensor, std: Tensor, logit: Tensor, switch: Tensor):
        self.mean, self.std, self.logit, self.switch = mean, std, logit, switch

    def mode(self) -> Tensor:
        on = torch.where(self.logit > 0, 1.0, -1.0)
        return torch.where(self.switch, on, self.mean)

    def sample(self) -> Tensor:
        """Without gradient."""
        normal = (self.mean + self.std * torch.randn_like(self.mean)).clamp(-1, 1)
        coin = torch.where(torch.rand_like(self.logit) < torch.sigmoid(self.logit), 1.0, -1.0)
        return torch.where(self.switch, coin, normal).detach()

    def log_prob(self, action: Tensor) -> Tensor:
        """[..., A] -> [...]; broadcasts."""
        z = (action - self.mean) / self.std
        normal = -0.5 * z.square() - torch.log(self.std) - 0.5 * math.log(2 * math.pi)
        coin = F.logsigmoid(torch.where(action > 0, self.logit, -self.logit))
        return torch.where(self.switch, coin, normal).sum(-1)

    def entropy(self) -> Tensor:
        """[B]; of the unclipped normals and the coins."""
        normal = torch.log(self.std) + 0.5 * math.log(2 * math.pi * math.e)
        probability = torch.sigmoid(self.logit)
        coin = F.binary_cross_entropy_with_logits(self.logit, probability, reduction="none")
        return torch.where(self.switch, coin, normal).sum(-1)
