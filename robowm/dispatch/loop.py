"""A loop in which the arm waits for the planner, as a simulation does: observe, act, judge, send.

It is deterministic. A real arm does not wait: :mod:`robowm.dispatch.online.dispatcher`.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from robowm.dispatch.arm import Arm, ArmObservation, ArmState, Chunk, Observation, Receipt
from robowm.dispatch.online.plan_facts import plan_facts
from robowm.dispatch.pilot import Commander, Pilot
from robowm.dispatch.record.records import Executed, Listener, Observed, Planned, plain
from robowm.dispatch.safety import Decision, SafetyGate
from robowm.errors import UserError
from robowm.planning.protocol import Plan

logger = logging.getLogger(__name__)


class Agent(Protocol):
    """Acts on observations; ``last_plan`` is None for an agent that does not plan."""

    last_plan: Plan | None

    def reset(self) -> None: ...

    def act(self, observation: Observation, committed: Sequence[np.ndarray] = ()) -> np.ndarray:
        """The action [A] to follow those ``committed`` to, which are done from now on, a step each."""
        ...

    def executed(self, action: np.ndarray) -> None:
        """Tell what is done from this observation on until the next, where it is not what :meth:`act`
        returned."""
        ...


@dataclasses.dataclass
class LoopConfig:
    """Attributes:
    max_steps: of the episode; None leaves it to ``over``.
    max_rejections: in a row, at which the episode is given up: the agent does not get free.
    step_s: that an action takes. A multiple of what it took in training is slower and gentler.
    waypoint_s: between the waypoints of a chunk; half of ``step_s``, or a part of that.
    lead_steps: between an observation and the action chosen from it: what choosing takes. The agent
      looks ahead by as much in its model.
    """

    max_steps: int | None = None
    max_rejections: int = 5
    step_s: float = 0.1
    waypoint_s: float = 0.05
    lead_steps: int = 0

    def __post_init__(self) -> None:
        if not (self.step_s > 0 and self.waypoint_s > 0 and self.lead_steps >= 0):
            raise UserError(
                f"loop.step_s is {self.step_s}, waypoint_s {self.waypoint_s} and lead_steps "
                f"{self.lead_steps}: give times above 0 and a number of steps, 0 or more."
            )
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
        return plain(
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
    commander: Commander,
    switches: tuple[bool, ...],
    over: Callable[[], bool],
    config: LoopConfig | None = None,
    tell: Listener = lambda record: None,
    on_tick: Callable[[Tick], None] | None = None,
) -> Episode:
    """Drive a connected ``arm`` by ``agent`` until the episode ends; one action, one chunk.

    What the gate rejects is not sent: the arm brakes and holds, the agent is told so, and acts again on
    the next observation.

    Args:
      switches: [A] True where an action's dimension is a switch, as in ``ActionSpec.switch``.
      over: whether the task has ended, asked after every command.
      tell: of each record, as it is made.
      on_tick: told of every turn after its command, before the next observation.
    """
    config = config or LoopConfig()
    pilot = Pilot(arm, gate, commander, config.step_s, config.waypoint_s, tell)
    agent.reset()
    still = np.where(switches, -1.0, 0.0).astype(np.float32)
    # Actions that are under way or will be before the next one can be: what planning takes.
    committed: collections.deque[np.ndarray] = collections.deque([still] * config.lead_steps)
    ticks: list[Tick] = []
    refused, ended = 0, ""
    while not ended:
        observation = arm.observe()
        index, plan_id, now_s = len(ticks), f"plan-{len(ticks):05d}", observation.stamp_s
        tell(Observed(time.time(), observation, index))
        begin = time.perf_counter()
        action = agent.act(observation.arrays, tuple(committed))
        latency_s = time.perf_counter() - begin
        if agent.last_plan is not None:
            facts = plan_facts(agent.last_plan)
            lead = config.lead_steps
            tell(
                Planned(
                    time.time(), now_s, plan_id, index, lead, latency_s=latency_s, **vars(facts)
                )
            )
        start_s = now_s + config.lead_steps * config.step_s
        outcome = pilot.send(action[None], start_s, now_s, observation, plan_id)
        if outcome.accepted:
            refused, executed = 0, action
            still = np.where(switches, action, 0.0).astype(np.float32)
        else:
            refused, executed = refused + 1, still
            logger.warning("step %d was not sent: %s", index, outcome.reason)
            pilot.hold(observation)
        committed.append(executed)
        done = committed.popleft()
        agent.executed(done)
        tell(Executed(time.time(), now_s, index, done))
        tick = Tick(
            index,
            observation,
            action,
            executed,
            agent.last_plan,
            outcome.chunk,
            outcome.decision,
            outcome.receipt or Receipt(False),
            latency_s * 1e3,
        )
        ticks.append(tick)
        if on_tick is not None:
            on_tick(tick)
        ended = _ended(arm, over, config, refused, len(ticks))
        if not ended:
            arm.wait(now_s + config.step_s)
            ended = _ended(arm, over, config, refused, len(ticks))
    final = arm.observe()
    tell(Observed(time.time(), final, len(ticks)))
    return Episode(ticks, final, ended)


def plan_to_dict(plan: Plan, plan_id: str) -> dict[str, Any]:
    """A plan for one belief as plain data; what is not a number is None."""
    return plain(
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


def _ended(arm: Arm, over: Callable[[], bool], config: LoopConfig, refused: int, steps: int) -> str:
    if arm.state is ArmState.STOPPED:
        return "stopped"
    if over():
        return "over"
    if refused >= config.max_rejections:
        return "rejected"
    return "steps" if config.max_steps is not None and steps >= config.max_steps else ""
