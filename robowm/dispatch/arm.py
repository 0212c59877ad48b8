"""The interface that every arm keeps, simulated or real.

Joints are named, the gripper among them as the last: its position is the width of the opening (m).
Everything is in SI units and in the arm's base frame; times are seconds on the observation's clock.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Observation = Mapping[str, NDArray[Any]]


class ArmState(enum.StrEnum):
    """``DISCONNECTED`` -> ``READY`` <-> ``HOLDING``; ``STOPPED`` from anywhere, left by reset alone."""

    DISCONNECTED = "disconnected"
    READY = "ready"
    HOLDING = "holding"
    STOPPED = "stopped"


@dataclasses.dataclass(frozen=True)
class ArmSpec:
    """What an arm is and may do; limits as the gate enforces them, margins already taken off.

    Attributes:
      joints: N names, in the order of every ``q``.
      position_low, position_high: [N] rad, or m for a gripper.
      velocity: [N] rad/s or m/s; infinite where the drive limits itself.
      workspace_low, workspace_high: [3] m, box for the tool point.
      rate_hz: of observations, and of commands at most.
    """

    joints: tuple[str, ...]
    position_low: tuple[float, ...]
    position_high: tuple[float, ...]
    velocity: tuple[float, ...]
    workspace_low: tuple[float, float, float]
    workspace_high: tuple[float, float, float]
    rate_hz: float


@dataclasses.dataclass(frozen=True)
class ArmObservation:
    """What the arm and its cameras say at one moment.

    Attributes:
      q, dq: [N] measured.
      arrays: what the agent reads, by the names of the TaskSpec: images, ``proprio``, ``goal``.
      stamp_s: when it was true, on the observation's clock.
      received_s: when it arrived here, on this machine's monotonic clock.
      age_s: how old it was when it was handed over.
      wrench: [6] N and N m at the tool, where it is measured.
    """

    q: Array
    dq: Array
    arrays: Observation
    stamp_s: float
    received_s: float
    age_s: float
    wrench: Array | None = None


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A short joint trajectory that ends at rest; its end is the dead man's handle.

    Attributes:
      t0_s: start, on the observation's clock; waypoint h is due at ``t0_s + (h + 1) * dt_s``.
      dt_s: between waypoints.
      q, dq: [H, N] waypoints; ``dq[-1]`` is zero.
      plan_id: of the plan that it came from.
    """

    t0_s: float
    dt_s: float
    q: Array
    dq: Array
    plan_id: str


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What became of a chunk: ``sent`` waypoints reached the drives; ``reason`` says why not more."""

    accepted: bool
    reason: str = ""
    sent: int = 0


@runtime_checkable
class Arm(Protocol):
    spec: ArmSpec

    @property
    def state(self) -> ArmState: ...

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def observe(self) -> ArmObservation:
        """The newest observation; the arm need not be ready for it."""
        ...

    def send(self, chunk: Chunk) -> Receipt:
        """Execute a chunk. Refused, never raised, in any state but ready or holding."""
        ...

    def hold(self) -> None:
        """Stay where it is, under control, until the next chunk."""
        ...

    def estop(self) -> None:
        """Stop now and refuse everything until :meth:`reset`."""
        ...

    def reset(self) -> None:
        """Leave the emergency stop; the only way out of it."""
        ...
