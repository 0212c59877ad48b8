"""An arm that only one thread may touch, for callers on several: a renderer belongs to its thread."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from robowm.dispatch.arm import ArmObservation, ArmSpec, ArmState, Chunk, Receipt

A = TypeVar("A", bound=Any)  # an Arm; protocols want more of its `spec` than is needed
T = TypeVar("T")


class ConfinedArm(Generic[A]):
    """What ``make`` makes, and all that it does, on a thread of its own.

    Attributes:
      arm: for what draws nothing.
    """

    def __init__(self, make: Callable[[], A]):
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "arm")
        self.arm = self.run(make)

    def run(self, do: Callable[[], T]) -> T:
        """There, and its result here."""
        return self._thread.submit(do).result()

    @property
    def spec(self) -> ArmSpec:
        return self.arm.spec

    @property
    def state(self) -> ArmState:
        return self.arm.state

    def connect(self) -> None:
        self.run(self.arm.connect)

    def close(self) -> None:
        self.run(self.arm.close)

    def observe(self) -> ArmObservation:
        return self.run(self.arm.observe)

    def send(self, chunk: Chunk) -> Receipt:
        return self.run(functools.partial(self.arm.send, chunk))

    def wait(self, stamp_s: float) -> None:
        self.run(functools.partial(self.arm.wait, stamp_s))

    def hold(self) -> None:
        self.run(self.arm.hold)

    def estop(self) -> None:
        self.run(self.arm.estop)

    def reset(self) -> None:
        self.run(self.arm.reset)

    def end(self) -> None:
        """The thread's; nothing can be asked of the arm afterwards."""
        self._thread.shutdown()
