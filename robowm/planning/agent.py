"""An agent: a model's belief, and a planner or a policy that acts on it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from robowm.behaviour.protocol import Policy
from robowm.errors import UserError
from robowm.models.protocol import State, WorldModel
from robowm.planning.protocol import Plan, Planner
from robowm.spec import TaskSpec

Observation = Mapping[str, np.ndarray]
Constraints = Mapping[str, np.ndarray]


@runtime_checkable
class Seeded(Protocol):
    def seed(self, seed: int) -> None:
        """Fix the random choices from here on."""
        ...


@runtime_checkable
class Constrained(Protocol):
    def constrain(self, constraints: Sequence[Constraints], yaw_order: int) -> None:
        """Obey from here on, one for all beliefs or one for each; empty ones forbid nothing."""
        ...


class BeliefAgent:
    """Follows the observations with ``model`` and acts by ``actor``; NumPy in, NumPy out.

    It acts in one world (:meth:`act`), or in B worlds that go on side by side
    (:meth:`act_together`). The model's device is that of its parameters.

    Args:
      actor: a planner, or a policy whose mode is executed.

    Attributes:
      belief: the State (B rows) after the last observation, None before the first.
      last_plan: what the planner returned last, None without a planner.
      latency_ms: wall time of each ``act`` of the episode.
    """

    def __init__(self, model: WorldModel, spec: TaskSpec, actor: Planner | Policy):
        self.model, self.spec, self.actor = model, spec, actor
        parameters = model.parameters() if isinstance(model, torch.nn.Module) else iter(())
        self.device = next((p.device for p in parameters), torch.device("cpu"))
        self.reset()

    def reset(self) -> None:
        self.belief: State | None = None
        self.last_plan: Plan | None = None
        self.latency_ms: list[float] = []
        self._previous: Tensor | None = None

    def seed(self, seed: int) -> None:
        """Fix the planner's random choices from here on; a policy's mode has none."""
        if isinstance(self.actor, Seeded):
            self.actor.seed(seed)

    def constrain(self, *constraints: Constraints) -> None:
        """Forbid, from here on, what ``constraints`` say, for all worlds or for each its own; empty
        ones forbid nothing.

        A planner obeys in what it imagines; a policy cannot, and does what it learned.
        """
        if isinstance(self.actor, Constrained):
            self.actor.constrain(constraints, self.spec.yaw_order)

    def act(self, observation: Observation, committed: Sequence[np.ndarray] = ()) -> np.ndarray:
        """The next action [A] float32; raises UserError on an observation that does not fit.

        Args:
          committed: actions [A] that will be executed before it, one a step, for an agent whose
            thinking takes time: it chooses for where its model says that they lead.
        """
        return self.act_together([observation], [row[None] for row in committed])[0]

    def act_together(
        self, observations: Sequence[Observation], committed: Sequence[np.ndarray] = ()
    ) -> np.ndarray:
        """The next actions [B, A] float32, of as many worlds at each call of an episode."""
        begin = time.perf_counter()
        with torch.no_grad():
            belief = self.observe(*observations)
            for rows in committed:
                ahead = torch.as_tensor(np.asarray(rows, np.float32), device=self.device)
                belief = self.model.step(belief, ahead)
            action = self._choose(belief).float().cpu().numpy()
        switch = np.asarray(self.spec.action.switch)
        action = np.where(switch, np.where(action > 0, 1, -1), action.clip(-1, 1))
        action = np.stack([self.spec.action.validate(row) for row in action])
        self.executed(action)
        self.latency_ms.append((time.perf_counter() - begin) * 1e3)
        return action

    def observe(self, *observations: Observation) -> State:
        """Update the belief alone, for instance while somebody else drives."""
        first = self.belief is None
        rows = len(observations)
        belief = self.model.initial(rows) if self.belief is None else self.belief
        previous = self._previous
        if previous is None:
            previous = torch.zeros(rows, self.spec.action.size, device=self.device)
        is_first = torch.tensor([first] * rows, device=self.device)
        with torch.no_grad():
            arrays = self._tensors(observations)
            self.belief = self.model.observe(belief, previous, arrays, is_first)
        return self.belief

    def unseen(self) -> None:
        """A step went by without an observation: believe what the model expects of what was executed."""
        if self.belief is not None and self._previous is not None:
            with torch.no_grad():
                self.belief = self.model.step(self.belief, self._previous)

    def executed(self, action: np.ndarray) -> None:
        """Tell what was executed [A] or [B, A], where it was not what :meth:`act` returned."""
        rows = [self.spec.action.validate(row) for row in np.atleast_2d(action)]
        self._previous = torch.from_numpy(np.stack(rows)).to(self.device)

    def _choose(self, belief: State) -> Tensor:
        if isinstance(self.actor, Planner):
            self.last_plan = self.actor.plan(belief, self.last_plan)
            return self.last_plan.action
        return self.actor(self.model.feat(belief)).mode()

    def _tensors(self, observations: Sequence[Observation]) -> dict[str, Tensor]:
        tensors = {}
        for name, spec in self.spec.observation.items():
            rows = [observation.get(name) for observation in observations]
            for array in rows:
                if array is None or np.shape(array) != spec.shape:
                    got = "is missing" if array is None else f"has shape {np.shape(array)}"
                    raise UserError(
                        f"observation {name!r} {got}, expected {spec.dtype} {spec.shape}: use the "
                        "task and observation mode that the model was trained with."
                    )
            tensors[name] = torch.as_tensor(np.array(rows, spec.dtype), device=self.device)
        return tensors
