"""Layers that several models share.

The recurrent cell is the block-diagonal GRU of DreamerV3 (Hafner et al. 2023, arXiv:2301.04104,
appendix B), arranged so that all that does not depend on the recurrence can be computed beforehand.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CODES = 5  # numbers that stand for one in fine()


class NormAct(nn.Module):
    """Layer norm with gain, then SiLU.

    DreamerV3 has RMS norm here. The two differ by the subtraction of the mean, and PyTorch has a
    fused CPU kernel for this one alone: three times faster, forward and backward.
    """

    def __init__(self, size: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(F.layer_norm(x, self.gain.shape, self.gain.to(x.dtype), None, 1e-4))


def compute_dtype(weight: Tensor) -> torch.dtype:
    """What a product with ``weight`` is computed in, for what should be converted once and beforehand."""
    device = weight.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype


def linear(inputs: int, outputs: int, scale: float = 1.0, bias: bool = True) -> nn.Linear:
    """A linear layer drawn from a truncated normal of standard deviation ``scale / sqrt(fan in)``."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    if scale == 0.0:
        nn.init.zeros_(layer.weight)
    else:
        std = scale / math.sqrt(inputs)
        nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def mlp(inputs: int, hidden: int, layers: int, outputs: int, scale: float = 1.0) -> nn.Sequential:
    """``layers`` hidden layers with norm and activation, then a linear map."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [linear(inputs, hidden, bias=False), NormAct(hidden)]
        inputs = hidden
    return nn.Sequential(*parts, linear(inputs, outputs, scale))


class BlockLinear(nn.Module):
    """A linear layer whose weight is block-diagonal: group g of the input feeds group g alone."""

    def __init__(self, inputs: int, outputs: int, blocks: int):
        super().__init__()
        if inputs % blocks or outputs % blocks:
            raise ValueError(f"{blocks} blocks do not divide {inputs} inputs and {outputs} outputs")
        self.blocks = blocks
        std = 1 / math.sqrt(inputs / blocks)
        self.weight = nn.Parameter(torch.empty(blocks, inputs // blocks, outputs // blocks))
        nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return joined(self.grouped(x))

    def grouped(self, x: Tensor) -> Tensor:
        """[B, in] -> [G, B, out / G]."""
        bias = self.bias.view(self.blocks, 1, -1)
        return torch.baddbmm(bias, split(x, self.blocks), self.weight)


def split(x: Tensor, blocks: int) -> Tensor:
    """[B, N] -> [G, B, N / G], a view."""
    return x.unflatten(-1, (blocks, -1)).transpose(0, 1)


def joined(groups: Tensor) -> Tensor:
    """The inverse of :func:`split`, a copy."""
    return groups.transpose(0, 1).flatten(1)


class BlockGRU(nn.Module):
    """DreamerV3's recurrent cell.

    ``x`` is what enters beside the recurrent state, already projected. The cell mixes it with the
    state in a hidden layer, then gates: reset, candidate, update with bias -1. State [B, D].
    """

    def __init__(self, inputs: int, deter: int, blocks: int):
        super().__init__()
        self.deter, self.blocks = deter, blocks
        self.enter = linear(inputs, deter, bias=False)
        self.recur = BlockLinear(deter, deter, blocks)
        self.norm = NormAct(deter)
        self.gates = BlockLinear(deter, 3 * deter, blocks)

    def forward(self, x: Tensor, deter: Tensor) -> Tensor:
        hidden = self.norm(self.enter(x) + self.recur(deter))
        # Group by group to the end: each change of the order is a copy.
        reset, candidate, update = self.gates.grouped(hidden).float().chunk(3, -1)
        # tanh(x) is 2 sigmoid(2 x) - 1, which on a CPU takes a fifth of its time.
        candidate = 2 * torch.sigmoid(2 * torch.sigmoid(reset) * candidate) - 1
        update = torch.sigmoid(update - 1)
        return joined(torch.lerp(split(deter, self.blocks), candidate, update))


class EnsembleMLP(nn.Module):
    """E independent MLPs evaluated in one batched product: [B, in] -> [E, B, out]."""

    def __init__(
        self, members: int, inputs: int, hidden: int, layers: int, outputs: int, scale=1.0
    ):
        super().__init__()
        sizes = [inputs] + [hidden] * layers + [outputs]
        self.weights, self.biases, self.gains = (
            nn.ParameterList(),
            nn.ParameterList(),
            nn.ParameterList(),
        )
        for i, (a, b) in enumerate(itertools.pairwise(sizes)):
            std = (scale if i == layers else 1.0) / math.sqrt(a)
            weight = torch.empty(members, a, b)
            if std > 0:
                nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
            else:
                weight.zero_()
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, b)))
            if i < layers:
                self.gains.append(nn.Parameter(torch.ones(members, 1, b)))
        self.members = members

    def forward(self, x: Tensor) -> Tensor:
        # All members read the same: one product, where a batched one would copy x for each.
        wide = x @ self.weights[0].transpose(0, 1).flatten(1)
        x = wide.unflatten(-1, (self.members, -1)).transpose(0, 1) + self.biases[0]
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i:
                x = torch.baddbmm(bias, x, weight)
            if i < len(self.gains):
                x = F.silu(F.layer_norm(x, x.shape[-1:], None, None, 1e-4) * self.gains[i])
        return x


def fine(x: Tensor) -> Tensor:
    """Codes [..., 5 N] of numbers [..., N] in [-1, 1] by which a centimetre makes a difference.

    Beside hundreds of latents a change of a centimetre, 0.04, is lost at the usual initialisation;
    so the numbers are enlarged, and given again as waves (Tancik et al. 2020, arXiv:2006.10739).
    """
    angle = torch.pi * x
    sin, cos = torch.sin(angle), torch.cos(angle)
    waves = torch.cat([sin, cos, 2 * sin * cos, 1 - 2 * sin.square()], -1)  # of the angle, of twice
    return torch.cat([10 * x, 3 * waves], -1)
