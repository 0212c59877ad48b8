"""From observations to motion: observe, act, judge, send; everything that was decided is kept."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from robowm.dispatch.arm import Arm, ArmObservation, ArmState, Array, Chunk, Observation, Receipt
from robowm.dispatch.safety import Decision, SafetyGate
from robowm.errors import UserError
from robowm.planning.protocol import Plan

logger = logging.getLogger(__name__)


class Agent(Protocol):
    """Acts on observations; ``last_plan`` is None for an agent that does not plan."""

    last_plan: Plan | None

    def reset(self) -> None: ...

    def act(self, observation: Observation) -> np.ndarray: ...

    def executed(self, action: np.ndarray) -> None:
        """Tell what was executed, where it was not what :meth:`act` returned."""
        ...


ToTargets = Callable[[np.ndarray], Array]  # action [A] -> joint targets [N], here and now


@dataclasses.dataclass
class LoopConfig:
    """Attributes:
    max_steps: of the episode; None leaves it to ``over``.
    max_rejections: in a row, at which the episode is given up: the agent does not get free.
    """

    max_steps: int | None = None
    max_rejections: int = 5

    def __post_init__(self) -> None:
        if self.max_rejections < 1 or (self.max_steps is not None and self.max_steps < 1):
            raise UserError(
                f"loop.max_steps is {self.max_steps} and loop.max_rejections {self.max_rejections}: "
                "give at least 1 of each."
            )


@dataclasses.dataclass(frozen=True)
class Tick:
    """One turn of the loop: what was seen, meant, judged and done.

    Attributes:
      action: [A] what the agent wanted.
      executed: [A] what was done: the same, or standing still where that was refused.
    """

    index: int
    observation: ArmObservation
    action: np.ndarray
    executed: np.ndarray
    plan: Plan | None
    chunk: Chunk
    decision: Decision
    receipt: Receipt
    act_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; what is not a number is None."""
        plan = self.plan
        return _finite(
            {
                "step": self.index,
                "stamp_s": round(self.observation.stamp_s, 6),
                "age_s": self.observation.age_s,
                "action": self.action.tolist(),
                "executed": self.executed.tolist(),
                "act_ms": self.act_ms,
                "plan": None if plan is None else plan_to_dict(plan, self.chunk.plan_id),
                "chunk": {
                    "plan_id": self.chunk.plan_id,
                    "t0_s": round(self.chunk.t0_s, 6),
                    "dt_s": self.chunk.dt_s,
                    "q": self.chunk.q.tolist(),
                    "dq": self.chunk.dq.tolist(),
                },
                "decision": {
                    "accepted": self.decision.accepted,
                    "reasons": list(self.decision.reasons),
                    "margins": self.decision.margins,
                },
                "receipt": dataclasses.asdict(self.receipt),
            }
        )


@dataclasses.dataclass(frozen=True)
class Episode:
    """What a run of the loop came to.

    Attributes:
      ended: ``over`` (the task says so), ``steps`` (enough of them), ``rejected`` (too often in a
        row) or ``stopped`` (emergency stop).
      final: the observation after the last command.
    """

    ticks: list[Tick]
    final: ArmObservation
    ended: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "ended": self.ended,
            "steps": len(self.ticks),
            "rejected": sum(not tick.decision.accepted for tick in self.ticks),
            "log": [tick.to_dict() for tick in self.ticks],
        }


def run(
    arm: Arm,
    agent: Agent,
    gate: SafetyGate,
    to_targets: ToTargets,
    switches: tuple[bool, ...],
    over: Callable[[], bool],
    config: LoopConfig | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> Episode:
    """Drive a connected ``arm`` by ``agent`` until the episode ends; one action, one chunk.

    What the gate rejects is not sent: the arm holds, the agent is told so, and acts again on the
    next observation.

    Args:
      to_targets: the inverse kinematics, from an action to the joint targets at the chunk's end.
      switches: [A] True where an action's dimension is a switch, as in ``ActionSpec.switch``.
      over: whether the task has ended, asked after every command.
      on_tick: told of every turn after its command, before the next observation.
    """
    config = config or LoopConfig()
    gate.reset()
    agent.reset()
    still = np.where(switches, -1.0, 0.0).astype(np.float32)
    ticks: list[Tick] = []
    refused, ended = 0, ""
    while not ended:
        observation = arm.observe()
        begin = time.perf_counter()
        action = agent.act(observation.arrays)
        act_ms = (time.perf_counter() - begin) * 1e3
        chunk = _to_chunk(
            to_targets(action), observation, arm.spec.rate_hz, f"plan-{len(ticks):05d}"
        )
        decision = gate.check(chunk, observation, arm.state)
        if decision.accepted:
            receipt = arm.send(chunk)
        else:
            receipt = Receipt(False, "; ".join(decision.reasons))
        if receipt.accepted:
            refused, executed = 0, action
            still = np.where(switches, action, 0.0).astype(np.float32)
        else:
            refused, executed = refused + 1, still
            logger.warning("step %d was not sent: %s", len(ticks), receipt.reason)
            arm.hold()
            agent.executed(still)
        tick = Tick(
            len(ticks),
            observation,
            action,
            executed,
            agent.last_plan,
            chunk,
            decision,
            receipt,
            act_ms,
        )
        ticks.append(tick)
        if on_tick is not None:
            on_tick(tick)
        ended = _ended(arm, over, config, refused, len(ticks))
    return Episode(ticks, arm.observe(), ended)


def plan_to_dict(plan: Plan, plan_id: str) -> dict[str, Any]:
    """A plan for one belief as plain data; what is not a number is None."""
    return _finite(
        {
            "id": plan_id,
            "value": float(plan.value[0]),
            "success": float(plan.success[0]),
            "trusted_steps": int(plan.trusted_steps[0]),
            "epistemic": plan.epistemic[0].tolist(),
            "sequence": plan.sequence[0].tolist(),
            "planning_time_ms": plan.planning_time_ms,
        }
    )


def _finite(value: Any) -> Any:
    """The same plain data, which standard JSON can hold."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _to_chunk(target: Array, observation: ArmObservation, rate_hz: float, plan_id: str) -> Chunk:
    q = np.asarray(target, np.float64)[None]
    return Chunk(observation.stamp_s, 1 / rate_hz, q, np.zeros_like(q), plan_id)


def _ended(arm: Arm, over: Callable[[], bool], config: LoopConfig, refused: int, steps: int) -> str:
    if arm.state is ArmState.STOPPED:
        return "stopped"
    if over():
        return "over"
    if refused >= config.max_rejections:
        return "rejected"
    return "steps" if config.max_steps is not None and steps >= config.max_steps else ""
