"""Boxes to keep out of, as a cost on what is imagined.

Nothing here is learned: the model says where hand and object will be, geometry says whether that is in
a box. So a zone can be given when planning that no demonstration ever avoided.

Hand and object are covered by balls, whose distance to a box is cheap and smooth (as in Sundaralingam
et al. 2023, "cuRobo", arXiv:2310.17274).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robowm.errors import UserError
from robowm.models.protocol import (
    EstimatesPose,
    EstimatesProprio,
    Objective,
    State,
    Step,
    WorldModel,
)
from robowm.spec import POSITION, YAW


class KeepOut:
    """An objective: the model's reward, less the cost of touching a box.

    Args:
      zones: one for all beliefs, or one for each; rows of a state are as many futures of each belief.
      objective: in place of the model's reward.
    """

    def __init__(self, zones: Sequence[Zone], objective: Objective | None = None):
        self.zones, self.objective = zones, objective

    def __call__(self, state: State, action: Tensor, step: Step) -> Tensor:
        gain = step.reward if self.objective is None else self.objective(state, action, step)
        return gain - self.cost(step.state)

    def cost(self, state: State) -> Tensor:
        """[B], 0 where nothing comes near a box."""
        if len(self.zones) == 1:
            return self.zones[0].cost(state)
        parts = {name: value.chunk(len(self.zones)) for name, value in state.items()}
        each = [{name: part[i] for name, part in parts.items()} for i in range(len(self.zones))]
        return torch.cat([z.cost(part) for z, part in zip(self.zones, each, strict=True)])


class Zone:
    """Boxes, and what must not touch them.

    Args:
      model: estimates pose and proprioception.
      constraints: as ``robowm_envs`` tells them: ``keep_out`` [K, 7] (centre, half edges, yaw),
        ``hand_balls`` [M, 5], ``object_balls`` [N, 4], ``hand_in_proprio``.
      yaw_order: of the object's ``object_yaw``.
      margin_m: distance to a box at which the cost begins: what the model may be wrong by.
      weight: cost of a step that touches a box; it grows on inside.
    """

    def __init__(
        self,
        model: WorldModel,
        constraints: Mapping[str, NDArray],
        yaw_order: int,
        margin_m: float,
        weight: float,
    ):
        if not (isinstance(model, EstimatesPose) and isinstance(model, EstimatesProprio)):
            raise UserError(
                f"{type(model).__name__} does not say where hand and object are, so it cannot keep "
                "them out of anything: train a model with a pose slot (model=rssm/small)."
            )
        self.model: Any = model
        self.margin_m, self.weight = margin_m, weight
        self._yaw_order = yaw_order
        boxes = np.atleast_2d(constraints["keep_out"])
        if boxes.shape[1] != 7 or not np.isfinite(boxes).all() or (boxes[:, 3:6] <= 0).any():
            raise UserError(
                f"keep_out has shape {boxes.shape}: expected rows of centre (3), half edges (3, above "
                "0) and yaw (1)."
            )
        self._centre, self._half, yaw = (
            torch.tensor(part, dtype=torch.float32) for part in np.split(boxes, [3, 6], axis=1)
        )
        self._turn = turn_about_z(yaw[:, 0])  # [K, 3, 3]
        self._hand = torch.tensor(constraints["hand_balls"], dtype=torch.float32)
        self._object = torch.tensor(constraints["object_balls"], dtype=torch.float32)
        self._at = int(constraints["hand_in_proprio"])

    def cost(self, state: State) -> Tensor:
        """[B], 0 where nothing comes near a box."""
        near = 1 - self.gap(state) / self.margin_m
        return self.weight * near.clamp(min=0)

    def gap(self, state: State) -> Tensor:
        """[B] m between the nearest ball and the nearest box; below 0 inside."""
        centres, radii = self._balls(state)  # [B, N, 3], [N]
        away = centres[:, None] - self._centre.to(centres)[:, None]  # [B, K, N, 3]
        beyond = (away @ self._turn.to(centres)).abs() - self._half.to(centres)[:, None]
        outside = beyond.clamp(min=0).norm(dim=-1)
        inside = beyond.amax(-1).clamp(max=0)
        return (outside + inside - radii).flatten(1).amin(1)

    def _balls(self, state: State) -> tuple[Tensor, Tensor]:
        """Centres in the world of all balls [B, M + N, 3], and their radii [M + N]."""
        at = self._at
        proprio = self.model.proprio(state)
        place, x, y, width = proprio[:, at : at + 10].split([3, 3, 3, 1], 1)
        # Imagined axes are not quite orthonormal.
        x = torch.nn.functional.normalize(x, dim=1)
        y = torch.nn.functional.normalize(y - (x * y).sum(1, keepdim=True) * x, dim=1)
        frame = torch.stack([x, y, torch.linalg.cross(x, y)], 1)  # rows are the axes
        hand = self._hand.to(proprio)
        local = hand[:, :3].expand(len(proprio), -1, -1).clone()
        local[..., 1] += hand[:, 4] * width / 2
        pose = self.model.pose(state)
        sin, cos = pose[YAW].unbind(1)
        turn = turn_about_z(torch.atan2(sin, cos) / self._yaw_order).mT
        thing = self._object.to(proprio)
        centres = torch.cat(
            [local @ frame + place[:, None], thing[:, :3] @ turn + pose[POSITION][:, None]], 1
        )
        return centres, torch.cat([hand[:, 3], thing[:, 3]])


def turn_about_z(angle: Tensor) -> Tensor:
    """[B] rad -> [B, 3, 3]."""
    c, s, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    rows = [c, -s, zero, s, c, zero, zero, zero, torch.ones_like(angle)]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
