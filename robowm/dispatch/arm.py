"""The interface that every arm keeps, simulated or real.

Joints are named, the gripper among them as the last: its position is the width of the opening (m).
Everything is in SI units and in the arm's base frame; times are seconds on the observation's clock.
"""

from __future__ import annotations

import dataclasses
import enum
import math
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
      velocity, acceleration, jerk: [N] rad/s, rad/s^2, rad/s^3, or m for a gripper; infinite where
        the drive limits itself.
      workspace_low, workspace_high: [3] m, box for the tool point.
      rate_hz: of observations, and of commands at most.
      servo_hz: at which the drives sample a trajectory.
      force_n: at the tool, beyond which no motion goes on.
    """

    joints: tuple[str, ...]
    position_low: tuple[float, ...]
    position_high: tuple[float, ...]
    velocity: tuple[float, ...]
    acceleration: tuple[float, ...]
    jerk: tuple[float, ...]
    workspace_low: tuple[float, float, float]
    workspace_high: tuple[float, float, float]
    rate_hz: float
    servo_hz: float = 500.0
    force_n: float = math.inf


@dataclasses.dataclass(frozen=True)
class ArmObservation:
    """What the arm and its cameras say at one moment.

    Attributes:
      q, dq: [N] measured.
      arrays: of what the agent reads, by the names of the TaskSpec, that which the arm itself knows:
        a simulated one all of it, a real one its cameras' pictures.
      stamp_s: when it was true, on the observation's clock.
      received_s: when it arrived here, on this machine's monotonic clock.
      age_s: how old it was when it was handed over.
      wrench: [6] N and N m at the tool, where it is measured.
      effort: [N] N m, or N for a gripper, where it is measured.
    """

    q: Array
    dq: Array
    arrays: Observation
    stamp_s: float
    received_s: float
    age_s: float
    wrench: Array | None = None
    effort: Array | None = None


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A short joint trajectory that ends at rest; its end is the dead man's handle.

    Between waypoints the arm follows cubics (:mod:`robowm.dispatch.trajectory`), as a joint
    trajectory controller does where positions and velocities are given.

    Attributes:
      t0_s: start, on the observation's clock; waypoint h is due at ``t0_s + (h + 1) * dt_s``.
      dt_s: between waypoints.
      q, dq: [H, N] waypoints; ``dq[-1]`` is zero.
      plan_id: of the plan that it came from.
      joints: the N names, in the order of the columns.
    """

    t0_s: float
    dt_s: float
    q: Array
    dq: Array
    plan_id: str
    joints: tuple[str, ...]

    @property
    def end_s(self) -> float:
        """When the arm is at rest, on the observation's clock."""
        return self.t0_s + len(self.q) * self.dt_s


@dataclasses.dataclass(frozen=True)
class Receipt:
    """What became of a chunk: ``sent`` waypoints reached the drives; ``reason`` says why not more."""

    accepted: bool
    reason: str = ""
    sent: int = 0


@runtime_checkable
class Arm(Protocol):
    @property
    def spec(self) -> ArmSpec: ...

    @property
    def state(self) -> ArmState: ...

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def observe(self) -> ArmObservation:
        """The newest observation; the arm need not be ready for it."""
        ...

    def send(self, chunk: Chunk) -> Receipt:
        """Follow a chunk from now on, in place of the one before. Refused, never raised, in any
        state but ready or holding."""
        ...

    def wait(self, stamp_s: float) -> None:
        """Return when the observation's clock has come to ``stamp_s``; a simulation goes on until
        then, a real arm does so by itself."""
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
