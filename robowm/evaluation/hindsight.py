"""Plans in hindsight: what was imagined at every step against what then happened.

Two questions are kept apart. *Planned*: is the world where the plan said it would be? The planner
plans anew at every step, so part of that error is a changed mind. *Replayed*: the same belief, carried
forward under the actions that were then executed; what is left is the model's own error.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robowm.evaluation.metrics import rotation_error_rad
from robowm.evaluation.open_loop import imagine
from robowm.evaluation.pictures import Image
from robowm.models.protocol import EstimatesPose, State, WorldModel
from robowm.planning.protocol import Plan
from robowm.spec import POSITION, ROTATION, YAW, TaskSpec


@dataclasses.dataclass
class Trace:
    """An episode of T steps as the planner lived it and as it was.

    Attributes:
      beliefs, plans: [T] before each action; beliefs have one row.
      actions: [T] of [A], executed.
      seen: [T+1] pictures as the model sees them; empty without a camera.
      film: [T+1] pictures for people.
      truth: [T+1] of the privileged arrays, which the agent never had.
    """

    beliefs: list[State] = dataclasses.field(default_factory=list)
    plans: list[Plan] = dataclasses.field(default_factory=list)
    actions: list[NDArray[np.float32]] = dataclasses.field(default_factory=list)
    seen: list[Image] = dataclasses.field(default_factory=list)
    film: list[Image] = dataclasses.field(default_factory=list)
    truth: list[Mapping[str, NDArray[Any]]] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.plans)


class Recorder:
    """Keeps the trace. :meth:`look` once at the start and after each step; :meth:`decided` between."""

    def __init__(self, env: Any, camera: str = "front", film_size: int = 256):
        self.env, self.camera, self.film_size, self.trace = env, camera, film_size, Trace()

    def look(self, observation: Mapping[str, NDArray[Any]]) -> None:
        name = f"image_{self.camera}"
        if name in observation:
            self.trace.seen.append(np.array(observation[name]))
        size = (self.film_size, self.film_size)
        self.trace.film.append(np.array(self.env.render(self.camera, size)))
        if hasattr(self.env, "privileged"):
            self.trace.truth.append({k: np.array(v) for k, v in self.env.privileged().items()})

    def decided(self, belief: State, plan: Plan, executed: NDArray[np.float32]) -> None:
        self.trace.beliefs.append({k: v.clone() for k, v in belief.items()})
        self.trace.plans.append(plan)
        self.trace.actions.append(np.array(executed, np.float32))


@dataclasses.dataclass
class Comparison:
    """Errors [T, H] by quantity, NaN beyond the end of the episode; empty where there is no pose."""

    planned: dict[str, NDArray[np.float64]]
    replayed: dict[str, NDArray[np.float64]]

    def at(self, t: int) -> dict[str, dict[str, list[float]]]:
        """Errors from step ``t`` on, for JSON."""
        return {
            name: {
                k: [round(x, 4) for x in v[t].tolist() if not math.isnan(x)]
                for k, v in part.items()
            }
            for name, part in (("planned", self.planned), ("replayed", self.replayed))
        }

    def mean(self) -> dict[str, dict[str, list[float]]]:
        """Mean over the episode, by horizon, for JSON."""
        return {
            name: {
                k: [round(float(np.nanmean(c)), 4) for c in v.T if np.isfinite(c).any()]
                for k, v in part.items()
            }
            for name, part in (("planned", self.planned), ("replayed", self.replayed))
        }


def compare(trace: Trace, model: WorldModel, spec: TaskSpec, ahead: int) -> Comparison:
    """Errors of every plan of the episode, and of its actions replayed ``ahead`` steps, in the model."""
    length = len(trace)
    if not isinstance(model, EstimatesPose) or not spec.pose_keys or not trace.truth or not length:
        return Comparison({}, {})
    truth = {k: np.stack([row[k] for row in trace.truth]) for k in spec.pose_keys}  # [T + 1, ...]
    horizon = min(len(plan.states) for plan in trace.plans)
    planned = [_joined([plan.states[h] for plan in trace.plans]) for h in range(horizon)]
    index = np.minimum(np.arange(length)[:, None] + np.arange(ahead), length - 1)  # [T, ahead]
    replayed = imagine(model, _joined(trace.beliefs), np.stack(trace.actions)[index])
    return Comparison(
        _errors(model, planned, truth, spec.yaw_order),
        _errors(model, replayed, truth, spec.yaw_order),
    )


@torch.inference_mode()
def _errors(
    model: Any, states: Sequence[State], truth: Mapping[str, NDArray[Any]], order: int
) -> dict[str, NDArray[np.float64]]:
    """``states[h]`` has T rows, one for each start; the error of each against the truth h + 1 later."""
    poses = [
        {k: v.double().cpu().numpy() for k, v in model.pose(state).items()} for state in states
    ]
    length = len(next(iter(truth.values()))) - 1
    then = np.arange(length)[:, None] + np.arange(1, len(states) + 1)  # [T, H]
    inside, then = then <= length, np.minimum(then, length)
    pose = {k: np.stack([pose[k] for pose in poses], 1) for k in truth}  # [T, H, ...]
    later = {k: v[then] for k, v in truth.items()}
    errors = {}
    if POSITION in truth:
        errors["position_cm"] = 100 * np.linalg.norm(pose[POSITION] - later[POSITION], axis=-1)
    turned = rotation_error_rad(pose, later, order)
    if turned is not None:
        errors["rotation_deg"] = np.degrees(turned)
    return {k: np.where(inside, v, np.nan) for k, v in errors.items()}


def choose_moments(trace: Trace, spec: TaskSpec, count: int, horizon: int) -> list[int]:
    """Steps worth looking at: where the object is about to move or turn most, not overlapping.

    The first step is always among them; where nothing moves they lie evenly.
    """
    last = len(trace) - horizon
    if last <= 0 or count == 1:
        return [0] if len(trace) else []
    stir = np.zeros(last + 1)
    for name, scale in (
        (POSITION, 0.02),
        (YAW, 0.17),
        (ROTATION, 0.17),
    ):  # 2 cm weighs as much as 10 degrees
        if name in spec.pose_keys and trace.truth:
            pose = np.stack([row[name] for row in trace.truth])
            stir += np.linalg.norm(pose[horizon:] - pose[: last + 1], axis=-1)[: last + 1] / scale
    chosen = [0]
    for t in np.argsort(-stir, kind="stable"):
        if len(chosen) < count and stir[t] > 0.5 and all(abs(t - c) >= horizon for c in chosen):
            chosen.append(int(t))
    for t in np.linspace(0, last, count).round().astype(int):
        if len(chosen) < count and all(abs(t - c) >= min(horizon, last // count) for c in chosen):
            chosen.append(int(t))
    return sorted(chosen)


def _joined(states: Sequence[State]) -> State:
    return {k: torch.cat([state[k] for state in states]) for k in states[0]}
