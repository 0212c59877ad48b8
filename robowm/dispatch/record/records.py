"""What is told of a run while it goes on: a few kinds of records, for whoever keeps or shows them.

Times are seconds. ``stamp_s`` is on the observation's clock, ``wall_s`` since the epoch on this machine.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robowm.dispatch.arm import ArmObservation, Chunk, Receipt
from robowm.dispatch.safety import Decision

Frames = NDArray[np.uint8]  # [H + 1, height, width, 3]


@dataclasses.dataclass(frozen=True)
class Observed:
    """The arm was observed.

    Attributes:
      step: the control step that begins with it, which the agent is shown; None where it is not shown.
        Steps without an observation exist: none came in time.
      episode: counts up where the agent forgets what was; steps then begin at 0 again.
    """

    wall_s: float
    observation: ArmObservation
    step: int | None = None
    episode: int = 0

    @property
    def stamp_s(self) -> float:
        return self.observation.stamp_s


@dataclasses.dataclass(frozen=True)
class Planned:
    """A plan has arrived.

    Attributes:
      stamp_s: of the observation that it was made from, which began ``step``.
      lead_steps: between that step and the one that ``sequence[0]`` is for.
      action: [A]; equals ``sequence[0]``.
      sequence: [H, A].
      value: predicted return; NaN without a planner.
      success: predicted probability; NaN where the model foretells none.
      trusted_steps: how far the model may be believed.
      epistemic: [H].
      planning_ms: what the planner took by its own clock.
      latency_s: from the observation until the plan was here.
      frames: what was believed and then imagined, by camera; empty where that was not asked for.
    """

    wall_s: float
    stamp_s: float
    plan_id: str
    step: int
    lead_steps: int
    action: NDArray[np.float32]
    sequence: NDArray[np.float32]
    value: float
    success: float
    trusted_steps: int
    epistemic: NDArray[np.float32]
    planning_ms: float
    latency_s: float
    frames: Mapping[str, Frames] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Judged:
    """The gate has judged a chunk.

    Attributes:
      stamp_s: of the observation that it was judged against.
      first: number of the plan's first action that it does; those before were past.
      actions: how many of the plan's actions it does.
      preview: nothing was to be sent: shadow, or a card for approval.
    """

    wall_s: float
    stamp_s: float
    chunk: Chunk
    decision: Decision
    first: int = 0
    actions: int = 1
    preview: bool = False


@dataclasses.dataclass(frozen=True)
class Sent:
    """A chunk was handed to the arm, and this became of it."""

    wall_s: float
    stamp_s: float
    chunk: Chunk
    receipt: Receipt


@dataclasses.dataclass(frozen=True)
class Executed:
    """A control step has ended: ``action`` [A] is what was done in it, as the agent is told."""

    wall_s: float
    stamp_s: float  # when the step began
    step: int
    action: NDArray[np.float32]
    episode: int = 0


class Kind(enum.StrEnum):
    """Of events."""

    MODE = "mode"  # the message is shadow, confirm or auto
    STATE = "state"  # the message is the new state, and why
    HOLD = "hold"
    RESUME = "resume"
    ESTOP = "estop"
    RESET = "reset"
    OFFERED = "offered"  # a plan, to the operator
    APPROVED = "approved"
    DECLINED = "declined"
    EXPIRED = "expired"
    MISSED = "missed"  # a deadline of the planner's
    LATE = "late"  # a turn of the control loop
    PLANNER = "planner"  # starts, is ready, died
    EPISODE = "episode"  # begins; the agent forgets what was
    RESULT = "result"  # of the episode, as JSON: what the task says


@dataclasses.dataclass(frozen=True)
class Event:
    wall_s: float
    stamp_s: float  # NaN before the first observation
    kind: Kind
    message: str = ""
    plan_id: str = ""


Record = Observed | Planned | Judged | Sent | Executed | Event


class Listener(Protocol):
    """Called on the control loop's thread with each record, in order: it returns at once."""

    def __call__(self, record: Record) -> None: ...


def plain(value: Any) -> Any:
    """The same as data for standard JSON: NumPy and dataclasses resolved, None for what is not finite."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
