"""What is told of a plan outside the planner: numbers and pictures, without the model's own state."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from robowm.dispatch.record.records import Frames
from robowm.models.protocol import Decodes, State
from robowm.planning.protocol import Plan


@dataclasses.dataclass(frozen=True)
class PlanFacts:
    """A plan for one belief; see :class:`robowm.dispatch.record.records.Planned`, whose fields these are."""

    action: np.ndarray
    sequence: np.ndarray
    value: float
    success: float
    trusted_steps: int
    epistemic: np.ndarray
    planning_ms: float
    frames: Mapping[str, Frames] = dataclasses.field(default_factory=dict)


def plan_facts(plan: Plan, frames: Mapping[str, Frames] | None = None) -> PlanFacts:
    return PlanFacts(
        action=_numpy(plan.action),
        sequence=_numpy(plan.sequence),
        value=float(plan.value[0]),
        success=float(plan.success[0]),
        trusted_steps=int(plan.trusted_steps[0]),
        epistemic=_numpy(plan.epistemic),
        planning_ms=plan.planning_time_ms,
        frames=frames or {},
    )


@torch.no_grad()
def imagined_frames(model: object, states: Sequence[State]) -> dict[str, Frames]:
    """By camera, what the model shows of each of the states, which have one row; empty where it decodes
    no pictures."""
    if not isinstance(model, Decodes):
        return {}
    decoded = [model.decode(state) for state in states]
    return {
        name.removeprefix("image_"): torch.cat([arrays[name] for arrays in decoded])
        .float().round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        for name in decoded[0]
        if name.startswith("image_")
    }  # fmt: skip


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor[0].float().cpu().numpy()
