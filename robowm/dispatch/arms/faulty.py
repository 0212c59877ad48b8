"""Any arm, with faults: what a network and a driver do on a bad day, the same for the same seed."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import numpy as np

from robowm.dispatch.arm import Arm, ArmObservation, ArmSpec, ArmState, Chunk, Receipt
from robowm.errors import UserError


@dataclasses.dataclass
class FaultsConfig:
    """Probabilities are of each chunk that is sent, or each observation that is made.

    Attributes:
      drop: a chunk does not arrive.
      delay: a chunk arrives later.
      delay_s: by how much, at most.
      duplicate: a chunk arrives again, as late as one that is delayed.
      reorder: a chunk arrives after the next one.
      freeze: from here on for ``freeze_s`` the observation stays the same, and gets older.
      freeze_s: on the observation's clock.
      corrupt: an observation has numbers that are none.
      seed: of all these.
    """

    drop: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.2
    duplicate: float = 0.0
    reorder: float = 0.0
    freeze: float = 0.0
    freeze_s: float = 0.5
    corrupt: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("drop", "delay", "duplicate", "reorder", "freeze", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"faults.{name} is {getattr(self, name)}, expected from 0 to 1.")
        for name in ("delay_s", "freeze_s"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"faults.{name} is {getattr(self, name)}, expected a number above 0."
                )


class FaultyArm:
    """An arm around another.

    Chunks that are late arrive while the arm is waited for, on its own clock, so that a simulated arm
    has the same faults every time. Holding and stopping always work, and overtake what is late: a
    controller's queue is one message deep.

    Attributes:
      counts: of what was done, by the fault's name.
    """

    def __init__(self, config: FaultsConfig, arm: Arm):
        self.config, self.arm = config, arm
        self.counts: collections.Counter[str] = collections.Counter()
        self._random = np.random.default_rng(config.seed)
        self._late: list[tuple[float, Chunk]] = []  # when it is due, on the observation's clock
        self._kept: Chunk | None = None  # until the next one has gone
        self._frozen: tuple[ArmObservation, float] | None = None  # until when

    def __getattr__(self, name: str) -> Any:
        """What only this kind of arm has, such as ``timestep`` of a simulated one."""
        return getattr(self.arm, name)

    @property
    def spec(self) -> ArmSpec:
        return self.arm.spec

    @property
    def state(self) -> ArmState:
        return self.arm.state

    def connect(self) -> None:
        self._forget()
        self._frozen = None
        self.arm.connect()

    def close(self) -> None:
        self._forget()
        self.arm.close()

    def observe(self) -> ArmObservation:
        seen = self.arm.observe()
        if self._frozen is None and self._happens("freeze"):
            self._frozen = seen, seen.stamp_s + self.config.freeze_s
        if self._frozen is not None:
            old, until_s = self._frozen
            if seen.stamp_s < until_s:
                age_s = seen.age_s + seen.stamp_s - old.stamp_s
                return dataclasses.replace(old, age_s=age_s)
            self._frozen = None
        if self._happens("corrupt"):
            q = seen.q.copy()
            q[self._random.integers(len(q))] = np.nan
            arrays = {name: _spoiled(array) for name, array in seen.arrays.items()}
            return dataclasses.replace(seen, q=q, arrays=arrays)
        return seen

    def send(self, chunk: Chunk) -> Receipt:
        """What is lost or late on the way was accepted: the sender cannot know."""
        if self.state not in (ArmState.READY, ArmState.HOLDING):
            return self.arm.send(chunk)
        told = Receipt(True, sent=len(chunk.q))
        now_s = self.arm.observe().stamp_s
        if self._happens("duplicate"):
            self._late.append((now_s + self._delay_s(), chunk))
        if self._happens("drop"):
            return told
        if self._happens("delay"):
            self._late.append((now_s + self._delay_s(), chunk))
            return told
        if self._kept is None and self._happens("reorder"):
            self._kept = chunk
            return told
        receipt = self.arm.send(chunk)
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self.arm.send(kept)
        return receipt

    def wait(self, stamp_s: float) -> None:
        for late in sorted(self._late, key=lambda late: late[0]):
            if late[0] <= stamp_s:
                self.arm.wait(late[0])
                if any(other is late for other in self._late):  # nobody held or stopped meanwhile
                    self._late = [other for other in self._late if other is not late]
                    self.arm.send(late[1])
        self.arm.wait(stamp_s)

    def hold(self) -> None:
        self._forget()
        self.arm.hold()

    def estop(self) -> None:
        self._forget()
        self.arm.estop()

    def reset(self) -> None:
        self._forget()
        self.arm.reset()

    def _forget(self) -> None:
        self._late, self._kept = [], None

    def _happens(self, fault: str) -> bool:
        """Draws even where it cannot happen, so that one probability leaves the others' draws alone."""
        happens = bool(self._random.random() < getattr(self.config, fault))
        self.counts[fault] += happens
        return happens

    def _delay_s(self) -> float:
        return float(self._random.uniform(0, self.config.delay_s))


def _spoiled(array: Any) -> Any:
    array = np.array(array)
    if np.issubdtype(array.dtype, np.floating):
        array[...] = np.nan
    return array
