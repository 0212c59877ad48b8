"""Image encoder and decoder.

Where a thing is matters more here than what it is: the encoder is told the patches' coordinates,
keeps an 8 x 8 map to its end and flattens it, so that a position survives as such.

Both begin, seen from the pixels, with patches of 4 x 4: one matrix product for all of them, where a
strided convolution over three channels would spend most of its time moving memory (2.4 times faster,
forward and backward, on a CPU in bfloat16).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robowm.errors import UserError
from robowm.nets.blocks import compute_dtype, mlp

MAP = 8


def _layout(shape: tuple[int, ...]) -> tuple[int, int]:
    """Patch edge and number of halvings that lead from the image to an 8 x 8 map."""
    height, width = shape[:2]
    if height != width or height not in (16, 32, 64, 128, 256):
        raise UserError(
            f"images are {height} x {width} pixels, expected squares of 16, 32, 64, 128 or 256."
        )
    patch = min(4, height // MAP)
    return patch, int(math.log2(height // patch // MAP))


class ImageEncoder(nn.Module):
    """uint8 [B, H, W, C] -> [B, size]."""

    coordinates: Tensor

    def __init__(self, shape: tuple[int, ...], depth: int):
        super().__init__()
        self.patch, halvings = _layout(shape)
        side, channels = shape[0] // self.patch, shape[2]
        axis = torch.linspace(-1, 1, side)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
        self.register_buffer("coordinates", grid.flatten(0, 1), False)  # [side * side, 2]
        self.pixels = nn.Linear(channels * self.patch**2, 4 * depth)
        self.place = nn.Linear(2, 4 * depth, bias=False)
        sizes = [4 * depth] + [2 * depth] * halvings
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1) for a, b in itertools.pairwise(sizes)
        )
        for layer in (self.pixels, *self.convolutions):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.side, self.size = side, sizes[-1] * MAP * MAP

    def forward(self, image: Tensor) -> Tensor:
        batch, edge = len(image), self.patch
        x = image.view(batch, self.side, edge, self.side, -1).transpose(2, 3)
        x = x.reshape(batch, self.side**2, -1)  # [B, patches, edge * edge * C]
        x = F.relu(
            self.pixels(x.to(compute_dtype(self.pixels.weight)) / 255 - 0.5)
            + self.place(self.coordinates)
        )
        x = x.transpose(1, 2).unflatten(2, (self.side, self.side))  # channels-last in memory
        for layer in self.convolutions:
            x = F.relu(layer(x))
        return x.flatten(1)


class ImageDecoder(nn.Module):
    """[B, F] -> [B, H, W, C] in [0, 1], unclipped: an 8 x 8 map grown by pixel shuffle."""

    def __init__(self, shape: tuple[int, ...], inputs: int, hidden: int, depth: int):
        super().__init__()
        patch, doublings = _layout(shape)
        self.depth = 2 * depth
        self.first = mlp(inputs, hidden, 1, self.depth * MAP * MAP)
        sizes = [self.depth] + [4 * depth] * doublings
        self.grow = nn.ModuleList(
            nn.Conv2d(a, 4 * b, 3, 1, 1) for a, b in itertools.pairwise(sizes)
        )
        self.pixels = nn.Conv2d(sizes[-1], shape[2] * patch**2, 3, 1, 1)
        self.patch = patch

    def forward(self, feat: Tensor) -> Tensor:
        x = self.first(feat).unflatten(1, (self.depth, MAP, MAP))
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.grow:
            x = F.pixel_shuffle(layer(F.relu(x)), 2)
        x = F.pixel_shuffle(self.pixels(F.relu(x)), self.patch)
        return x.permute(0, 2, 3, 1).float() + 0.5
