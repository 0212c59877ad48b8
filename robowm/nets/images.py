"""Image encoder and decoder.

Where a thing is matters more here than what it is: the encoder is told the pixel coordinates, keeps
an 8 x 8 map to its end and flattens it, so that a position survives as such.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robowm.errors import UserError
from robowm.nets.blocks import mlp

MAP = 8


def _stages(size: int) -> int:
    stages = int(math.log2(size / MAP)) if size >= MAP else 0
    if MAP * 2**stages != size or stages < 1:
        raise UserError(f"images are {size} pixels wide, expected 16, 32, 64, 128 or 256.")
    return stages


class ImageEncoder(nn.Module):
    """uint8 [B, H, W, 3] -> [B, size]: stride-two convolutions down to an 8 x 8 map, flattened."""

    coordinates: Tensor

    def __init__(self, shape: tuple[int, ...], depth: int):
        super().__init__()
        height, width, channels = shape
        if height != width:
            raise UserError(f"images are {height} x {width} pixels, expected squares.")
        stages = _stages(height)
        axis = torch.linspace(-1, 1, height)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"))
        self.register_buffer("coordinates", grid[None], False)  # [1, 2, H, W]
        # Coordinates are two more input channels; they are the same for every image, so that their
        # share of the first layer is computed once a call.
        self.first = nn.Conv2d(channels, depth, 4, 2, 1)
        self.place = nn.Conv2d(2, depth, 4, 2, 1, bias=False)
        sizes = [depth] + [2 * depth] * (stages - 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        for layer in (self.first, *self.convolutions):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.size = sizes[-1] * MAP * MAP

    def forward(self, image: Tensor) -> Tensor:
        x = image.permute(0, 3, 1, 2)  # stays channels-last in memory
        x = x.to(torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type)
                 else self.first.weight.dtype)
        x = F.relu(self.first(x / 255 - 0.5) + self.place(self.coordinates))
        for layer in self.convolutions:
            x = F.relu(layer(x))
        return x.flatten(1)


class ImageDecoder(nn.Module):
    """[B, F] -> [B, H, W, 3] in [0, 1], unclipped: an 8 x 8 map grown by pixel shuffle."""

    def __init__(self, shape: tuple[int, ...], inputs: int, hidden: int, depth: int):
        super().__init__()
        height, _, channels = shape
        stages = _stages(height)
        sizes = [2 * depth] + [depth] * (stages - 1) + [channels]
        self.first = mlp(inputs, hidden, 1, sizes[0] * MAP * MAP)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, 4 * b, 3, 1, 1) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.depth = sizes[0]

    def forward(self, feat: Tensor) -> Tensor:
        x = self.first(feat).unflatten(1, (self.depth, MAP, MAP))
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.convolutions:
            x = F.pixel_shuffle(layer(F.silu(x)), 2)
        return x.permute(0, 2, 3, 1).float() + 0.5
