"""A simulated arm that goes on by the clock, so that nobody can keep it waiting, as a real one."""

from __future__ import annotations

import dataclasses
import math
import threading
import time

from robowm.dispatch.arm import ArmObservation, ArmSpec, ArmState, Chunk, Receipt
from robowm.dispatch.arms.sim import SimArm


class PacedArm:
    """``arm`` in real time, a whole control step at a time, whenever it is looked at or commanded.

    The episode begins with the first chunk; until then the world stands still and only time passes.
    """

    def __init__(self, arm: SimArm):
        self.arm = arm
        self._lock = threading.RLock()  # an emergency stop comes from anywhere
        self._period_s = 1 / arm.spec.rate_hz
        self._zero_s = self._late_s = (
            0.0  # when our clock began, and how much later the simulation's
        )
        self._begun = False

    @property
    def spec(self) -> ArmSpec:
        return self.arm.spec

    @property
    def state(self) -> ArmState:
        return self.arm.state

    @property
    def over(self) -> bool:
        """Whether the episode is."""
        return bool(self.arm.timestep.last())

    def connect(self) -> None:
        self.arm.connect()
        self._zero_s, self._late_s, self._begun = time.monotonic(), 0.0, False

    def close(self) -> None:
        self.arm.close()

    def observe(self) -> ArmObservation:
        with self._lock:
            now_s = self._catch_up()
            seen = self.arm.observe()
            stamp_s = seen.stamp_s + self._late_s
            # After its end an episode shows nothing new, which is not the fault of whoever looks.
            age_s = 0.0 if self.over else now_s - stamp_s
            return dataclasses.replace(seen, stamp_s=stamp_s, age_s=age_s)

    def send(self, chunk: Chunk) -> Receipt:
        with self._lock:
            self._catch_up()
            receipt = self.arm.send(dataclasses.replace(chunk, t0_s=chunk.t0_s - self._late_s))
            self._begun = self._begun or receipt.accepted
            return receipt

    def wait(self, stamp_s: float) -> None:
        time.sleep(max(0.0, stamp_s - self._now_s))
        with self._lock:
            self._catch_up()

    def hold(self) -> None:
        with self._lock:
            self._catch_up()
            self.arm.hold()

    def estop(self) -> None:
        with self._lock:
            self._catch_up()
            self.arm.estop()

    def reset(self) -> None:
        with self._lock:
            self._late_s += self._passed_s - self.arm.observe().stamp_s  # it stood still
            self.arm.reset()

    def _catch_up(self) -> float:
        """Simulate the steps that have passed; returns the time now."""
        now_s = self._now_s
        if self._begun:
            self.arm.wait(self._passed_s)
        else:
            self._late_s = math.floor(now_s / self._period_s) * self._period_s
        return now_s

    @property
    def _now_s(self) -> float:
        return time.monotonic() - self._zero_s

    @property
    def _passed_s(self) -> float:
        """On the simulation's clock, in whole steps."""
        steps = math.floor((self._now_s - self._late_s) / self._period_s + 1e-9)
        return max(steps, 0) * self._period_s
