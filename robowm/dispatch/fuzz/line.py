"""One gate on one way through time, and the oracle that follows along."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from typing import Any, Protocol

import numpy as np

from robowm.dispatch.arm import ArmObservation, ArmState, Array, Chunk
from robowm.dispatch.fuzz.report import Report
from robowm.dispatch.safety import Decision, SafetyGate

NOISE_RAD = 0.003  # of what is measured
KEPT = 5  # troubles that are reported, of each worker
REMEMBERED = 12  # events that led to one


class Oracle(Protocol):
    """Such as ``robowm_envs.oracle.Oracle``."""

    @property
    def follows(self) -> bool: ...

    @property
    def end_s(self) -> float: ...

    def fork(self) -> Oracle: ...

    def state(self, time_s: float) -> tuple[Array, Array]:
        """Position and velocity [N] of the arm, if it does what it was sent."""
        ...

    def watch(self, observation: ArmObservation) -> bool: ...

    def judge(
        self, chunk: Chunk, observation: ArmObservation, movable: bool, stale: bool
    ) -> tuple[list[str], bool]:
        """What is unsafe about following a chunk, beyond doubt; and whether it is safe beyond doubt."""
        ...

    def follow(self, chunk: Chunk, observation: ArmObservation) -> None: ...

    def hold(self, observation: ArmObservation) -> None: ...

    def stop(self) -> None: ...

    def reset(self) -> None: ...


class Line:
    """What is sent goes to the gate, and what it lets through is followed.

    Args:
      doubt: share of what is refused that the oracle is asked about.

    Attributes:
      now_s: on the observation's clock.
      name: class of what is sent.
      tick: the expert's own next chunk and its observation, as long as they fit.
      sent: chunks that passed, oldest first.
    """

    def __init__(
        self,
        gate: SafetyGate,
        oracle: Oracle,
        report: Report,
        doubt: float,
        rng: np.random.Generator,
    ):
        self.gate, self.oracle, self.report, self.rng = gate, oracle, report, rng
        self.spec, self.state = gate.spec, ArmState.READY
        self.now_s, self.name = 0.0, "expert"
        self.tick: tuple[Chunk, ArmObservation] | None = None
        self.sent: tuple[Chunk, ...] = ()
        self.resting = np.zeros(len(self.spec.joints))
        self._doubt = doubt
        self._events: tuple[dict[str, Any], ...] = ()

    def fork(self) -> Line:
        """One that goes another way; this one stays."""
        other = copy.copy(self)
        other.gate, other.oracle = copy.copy(self.gate), self.oracle.fork()
        return other

    def observe(
        self, at_s: float | None = None, age_s: float = 0.0, **changes: Any
    ) -> ArmObservation:
        """What is measured at a time, now unless said: where the oracle says that the arm is, and noise."""
        stamp_s = (self.now_s if at_s is None else at_s) - age_s
        if self.oracle.follows:
            q, dq = self.oracle.state(stamp_s)
            q = q + NOISE_RAD * self.rng.uniform(-1, 1, len(q))
        else:
            q, dq = self.resting, np.zeros_like(self.resting)
        seen = ArmObservation(q, dq, {}, stamp_s, 0.0, age_s)
        return dataclasses.replace(seen, **changes)

    def send(self, chunk: Chunk, seen: ArmObservation, state: Any = None) -> Decision:
        """Have a chunk judged; ``state`` is the arm's unless said."""
        state = self.state if state is None else state
        movable = state in (ArmState.READY, ArmState.HOLDING)
        if not movable:
            self._stop(seen)
        begin = time.perf_counter()
        decision = self.gate.check(chunk, seen, state)
        seconds = time.perf_counter() - begin
        stale = self.oracle.watch(seen)
        self.note("send", chunk=chunk, observation=seen, state=str(state), broken=decision.broken)
        count = self.report.count(self.name)
        count.sent += 1
        if decision.accepted:
            count.passed += 1
            faults, _ = self.oracle.judge(chunk, seen, movable, stale)
            if faults:
                count.unsafe += 1
                self._keep(f"passed, and breaks {', '.join(faults)}")
            self.oracle.follow(chunk, seen)
            self.sent, self.tick = (*self.sent[-8:], chunk), None
            if self.name == "expert":
                self.report.times.append((len(chunk.q), seconds))
        else:
            count.refused[decision.broken[0]] += 1
            if self.name == "expert":
                self._keep(f"the expert was refused: {'; '.join(decision.reasons)}")
            if self.rng.random() < self._doubt:
                count.doubted += 1
                count.needless += self.oracle.judge(chunk, seen, movable, stale)[1]
        return decision

    def hold(self, seen: ArmObservation) -> None:
        self.note("hold", observation=seen)
        self.gate.hold(seen)
        self.oracle.hold(seen)
        self.state, self.tick = ArmState.HOLDING, None

    def wait(self, seconds: float) -> None:
        if seconds > 0:
            self.now_s, self.tick = self.now_s + seconds, None

    def settle(self) -> None:
        """Wait until the arm is at rest."""
        if self.oracle.follows:
            self.wait(self.oracle.end_s + 0.05 - self.now_s)

    def restart(self) -> None:
        """The gate forgets, while the arm is at rest."""
        self.settle()
        self.resting, self.tick = self.observe().q, None
        self.note("reset")
        self.gate.reset()
        self.oracle.reset()

    def note(self, what: str, **facts: Any) -> None:
        event = {"what": what, "class": self.name, **facts}
        self._events = (*self._events[1 - REMEMBERED :], event)

    def _stop(self, seen: ArmObservation) -> None:
        """The arm stops where it is, if that can be told."""
        if self.oracle.follows:
            now_s = seen.stamp_s + seen.age_s
            self.resting = self.oracle.state(now_s if math.isfinite(now_s) else self.now_s)[0]
            self.oracle.stop()
        self.tick = None

    def _keep(self, why: str) -> None:
        if len(self.report.trouble) < KEPT:
            events = [plain(event) for event in self._events]
            self.report.trouble.append({"why": why, "limits": plain(self.spec), "events": events})


def plain(value: Any) -> Any:
    """For JSON; what is no number there is its name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if isinstance(value, float | int | str | None) else str(value)
