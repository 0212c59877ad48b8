"""How actions become a chunk that is judged and sent. Every loop drives an arm through this."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from robowm.dispatch.arm import Arm, ArmObservation, Array, Chunk, Receipt
from robowm.dispatch.record.records import Judged, Record, Sent
from robowm.dispatch.safety import Decision, SafetyGate
from robowm.dispatch.trajectory import Trajectory, chunk_of, through


class Commander(Protocol):
    """From actions to joint targets, such as ``robowm_envs.twin.Commander``."""

    def reset(self, q: Array) -> None:
        """Command what is, at joint position [N]."""
        ...

    def target(self, action: np.ndarray, q: Array) -> Array:
        """Joint position [N] to be at when ``action`` [A] has been done from ``q`` [N]."""
        ...

    def state(self) -> Any:
        """What is commanded, for :meth:`restore`."""
        ...

    def restore(self, state: Any) -> None: ...


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of some actions.

    Attributes:
      actions: how many of them the chunk does.
      receipt: None in a preview.
    """

    chunk: Chunk
    decision: Decision
    receipt: Receipt | None
    actions: int

    @property
    def accepted(self) -> bool:
        return self.decision.accepted and (self.receipt is None or self.receipt.accepted)

    @property
    def reason(self) -> str:
        """Why not."""
        if self.decision.reasons:
            return "; ".join(self.decision.reasons)
        return self.receipt.reason if self.receipt else ""


class Pilot:
    """Drives one arm through its gate.

    Args:
      step_s: that an action takes.
      waypoint_s: between the waypoints of a chunk.
      tell: of each judgement and each chunk that was sent.
      lock: held while the arm is commanded.
    """

    def __init__(
        self,
        arm: Arm,
        gate: SafetyGate,
        commander: Commander,
        step_s: float,
        waypoint_s: float,
        tell: Callable[[Record], None] = lambda record: None,
        lock: contextlib.AbstractContextManager[Any] | None = None,
    ):
        self.arm, self.gate, self._commander = arm, gate, commander
        self.step_s, self.waypoint_s = step_s, waypoint_s
        self._tell, self._lock = tell, lock or threading.Lock()
        self.reset()

    def reset(self) -> None:
        """The arm was stopped, or moved by hand: forget what was commanded."""
        self.gate.reset()
        self._commanded: list[tuple[float, Any]] = []  # (when an action ends, the commander then)

    def send(
        self,
        actions: np.ndarray,
        start_s: float,
        t0_s: float,
        observation: ArmObservation,
        plan_id: str,
        first: int = 0,
        preview: bool = False,
    ) -> Outcome:
        """Do ``actions`` [H, A], a step each, from ``start_s`` on, then brake.

        Where the gate rejects them all, half of them are tried, and so on: what was planned for later
        may still change.

        Args:
          t0_s: of the chunk, at or before now. Until ``start_s`` it holds what is being followed.
          first: number of the first of them in the plan, for the record.
          preview: judge alone.
        """
        count = len(actions)
        while True:
            chunk, commanded = self._chunk(actions[:count], start_s, t0_s, observation, plan_id)
            state = self.arm.state
            decision = self.gate.check(chunk, observation, state, preview=preview)
            if decision.accepted or count == 1:
                break
            count //= 2
        wall_s, stamp_s = time.time(), observation.stamp_s
        self._tell(Judged(wall_s, stamp_s, chunk, decision, first, count, preview))
        if preview or not decision.accepted:
            receipt = None if preview else Receipt(False, "; ".join(decision.reasons))
            return Outcome(chunk, decision, receipt, count)
        with self._lock:
            receipt = self.arm.send(chunk)
        if receipt.accepted:
            kept = [(t, s) for t, s in self._commanded if stamp_s <= t < start_s - self.step_s / 4]
            self._commanded = kept + commanded
        else:
            self.gate.withdraw()
        self._tell(Sent(time.time(), stamp_s, chunk, receipt))
        return Outcome(chunk, decision, receipt, count)

    def hold(self, observation: ArmObservation) -> float:
        """Brake and stay; returns when the arm is at rest, on the observation's clock."""
        with self._lock:
            self.arm.hold()
        self._commanded = []
        return self.gate.hold(observation).end_s

    def _chunk(
        self,
        actions: np.ndarray,
        start_s: float,
        t0_s: float,
        observation: ArmObservation,
        plan_id: str,
    ) -> tuple[Chunk, list[tuple[float, Any]]]:
        """The chunk, and what is commanded as each of its actions begins and the last one ends."""
        spec, path = self.arm.spec, self.gate.path(observation)
        # Where the joints will be as an action begins: as far from the path as they are now.
        trail = observation.q - path.at(observation.stamp_s)[0]
        self._recall(start_s, path)
        commanded = [(start_s, self._commander.state())]
        for h, action in enumerate(actions):
            begin_s = start_s + h * self.step_s
            target = self._commander.target(action, path.at(begin_s)[0] + trail)
            path = through(target[None], path, begin_s, self.step_s, self.waypoint_s, spec)
            commanded.append((begin_s + self.step_s, self._commander.state()))
        return chunk_of(path, t0_s, self.waypoint_s, plan_id, spec.joints), commanded

    def _recall(self, start_s: float, path: Trajectory) -> None:
        """The commander as it was left by the action that ends at ``start_s``; else it commands what is."""
        for end_s, state in self._commanded:
            if abs(end_s - start_s) < self.step_s / 4:
                return self._commander.restore(state)
        self._commander.reset(path.at(start_s)[0])
