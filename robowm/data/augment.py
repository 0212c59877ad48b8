"""Other colours: each sequence of a batch is seen through a random 3 x 3 matrix.

A camera, a lamp or another table changes all colours of a scene at once. What reads a pose by one
red on one grey is lost then; and pictures that are merely recoloured have the pose that they had.
The scene's own ranges of colour and light (``task.randomise``) are narrow, and shift splits lie
outside of them; this is all that training does about the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from robowm.errors import UserError

# Pixels whose colours are multiplied as one row: products of width 3 would be twice as slow.
_TOGETHER = 16


@dataclasses.dataclass
class AugmentConfig:
    """Attributes:
    share: of the sequences that are recoloured; 0 is off.
    hue: largest turn about the grey axis, in turns.
    mix: standard deviation of what each channel gains from each.
    gain: largest change of the brightness, as a factor less one.
    bias: largest change of the black level, in [0, 1] of the range.
    """

    share: float = 0.75
    hue: float = 0.12
    mix: float = 0.12
    gain: float = 0.3
    bias: float = 0.08

    def check(self) -> None:
        """Raise :class:`UserError` on a value that cannot be meant."""
        for field in dataclasses.fields(self):
            if not 0 <= (value := getattr(self, field.name)) <= 1:
                raise UserError(f"augment.{field.name} is {value}: choose from 0 to 1.")


class Augment:
    """Recolours the pictures of a batch [B, L, H, W, 3] uint8; all else is passed on.

    Draws from torch's generator: resuming a run resumes its colours.
    """

    def __init__(self, config: AugmentConfig, images: Sequence[str]):
        config.check()
        self.config, self.images = config, tuple(images)

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        batch = dict(batch)
        if not (self.config.share and self.images):
            return batch
        # The cameras of one scene are lit by the same lamps.
        matrix, bias = self._draw(len(batch[self.images[0]]))
        for name in self.images:
            batch[name] = recolour(batch[name], matrix, bias)
        return batch

    def _draw(self, rows: int) -> tuple[Tensor, Tensor]:
        """Matrices [B, 3, 3] and biases [B, 3] in [0, 255]; the identity for those left alone."""
        c = self.config
        matrix = torch.eye(3) + c.mix * torch.randn(rows, 3, 3)
        matrix = matrix / matrix.sum(1, keepdim=True)  # grey stays about grey
        gain = 1 + c.gain * (2 * torch.rand(rows, 1, 1) - 1)
        turn = hue_rotation(2 * torch.pi * c.hue * (2 * torch.rand(rows) - 1))
        bias = 255 * c.bias * (2 * torch.rand(rows, 3) - 1)
        chosen = torch.rand(rows) < c.share
        matrix = torch.where(chosen[:, None, None], gain * turn @ matrix, torch.eye(3))
        return matrix, bias * chosen[:, None]


def hue_rotation(angle: Tensor) -> Tensor:
    """Rotations [B, 3, 3] about the grey axis by angles [B] (rad)."""
    axis = torch.full((3,), 3**-0.5)
    outer = torch.outer(axis, axis)
    cross = torch.linalg.cross(torch.eye(3), axis.expand(3, 3))
    c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    return outer + c * (torch.eye(3) - outer) + s * cross


def recolour(pictures: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
    """uint8 [B, ..., 3] times ``matrix`` [B, 3, 3] plus ``bias`` [B, 3], clipped."""
    rows, together = len(pictures), _TOGETHER
    flat = pictures.reshape(rows, -1, 3 * together).float()
    matrix, bias = matrix.to(flat.device), bias.to(flat.device)
    wide = flat.new_zeros(rows, 3 * together, 3 * together)
    for i in range(together):
        wide[:, 3 * i : 3 * i + 3, 3 * i : 3 * i + 3] = matrix
    out = torch.baddbmm(bias.repeat(1, together)[:, None], flat, wide)
    return out.round_().clamp_(0, 255).to(torch.uint8).view_as(pictures)
