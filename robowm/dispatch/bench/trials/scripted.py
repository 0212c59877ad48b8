"""An agent without a model, for trials of what comes after the planner: it moves, or tries what it may not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from robowm.errors import unknown
from robowm.planning.protocol import Plan
from robowm.spec import PROPRIO, TaskSpec

HORIZON = 8
SWEEP_M = 0.06  # to each side of where it began
SPEED = 0.4  # of the fastest
ERRANDS = {
    "sweep": None,  # to and fro along y
    "away": (0.0, SPEED, 0.0),  # out of the workspace
}


class ScriptedAgent:
    """Goes on an errand of :data:`ERRANDS`, with a plan that says so.

    Args:
      spec: whose first three actions move the hand along x, y and z.
    """

    model = None  # that could picture anything

    def __init__(self, spec: TaskSpec, errand: str):
        if errand not in ERRANDS:
            raise unknown("errand", errand, ERRANDS)
        if spec.hand_in_proprio is None:
            raise ValueError("the hand's position is not in proprio")
        self.spec, self._errand, self._hand = spec, ERRANDS[errand], spec.hand_in_proprio
        self.reset()

    def reset(self) -> None:
        self.last_plan: Plan | None = None
        self.belief: Any = None
        self._begin_m: float | None = None
        self._side = 1.0

    def constrain(self, *constraints: Any) -> None:
        pass

    def executed(self, action: np.ndarray) -> None:
        pass

    def unseen(self) -> None:
        pass

    def observe(self, observation: Mapping[str, np.ndarray]) -> None:
        self.belief = {}

    def act(
        self, observation: Mapping[str, np.ndarray], committed: Sequence[np.ndarray] = ()
    ) -> np.ndarray:
        self.observe(observation)
        y = float(observation[PROPRIO][self._hand + 1])
        if self._begin_m is None:
            self._begin_m = y
        step_m = self.spec.action.scale[1]
        y += step_m * float(sum(action[1] for action in committed))
        rows = []
        for _ in range(HORIZON):
            if self._side * (y - self._begin_m) > SWEEP_M:
                self._side = -self._side
            move = self._errand or (0.0, self._side * SPEED, 0.0)
            row = np.zeros(self.spec.action.size, np.float32)
            row[:3] = move
            row[np.array(self.spec.action.switch)] = -1.0
            rows.append(row)
            y += step_m * move[1]
        sequence = torch.from_numpy(np.stack(rows))[None]
        self.last_plan = Plan(
            action=sequence[:, 0],
            sequence=sequence,
            value=torch.zeros(1),
            success=torch.ones(1),
            epistemic=torch.zeros(1, HORIZON),
            trusted_steps=torch.tensor([HORIZON]),
            states=[],
            planning_time_ms=1.0,
        )
        action: np.ndarray = rows[0]
        return action


def make(spec: TaskSpec, errand: str) -> Any:
    """For a planner's process, which asks no more of an agent than this one can."""
    return ScriptedAgent(spec, errand)
