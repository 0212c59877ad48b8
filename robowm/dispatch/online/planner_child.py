"""The planner's own process: it loads an agent, and thinks when it is asked to."""

from __future__ import annotations

import dataclasses
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from robowm.dispatch.arm import Observation
from robowm.dispatch.online.plan_facts import PlanFacts, imagined_frames, plan_facts
from robowm.errors import UserError
from robowm.planning.agent import BeliefAgent


@dataclasses.dataclass(frozen=True)
class Step:
    """A control step begins.

    Attributes:
      executed: [A] what was done in the step before; None at the first of an episode.
      observation: what is seen as it begins; None where nothing came in time.
    """

    executed: np.ndarray | None
    observation: Observation | None


@dataclasses.dataclass(frozen=True)
class Request:
    """What has happened since the last request, and whether to plan from it.

    Attributes:
      steps: in order; the last one has an observation where a plan is wanted.
      plan: whether one is; else the agent only follows what happens.
      committed: actions [A] that will be done from the last step on, before what is planned.
      frames: whether to picture what is imagined.
      constraints: of an episode that begins with these steps, all before being forgotten; None where
        it goes on.
    """

    steps: Sequence[Step]
    plan: bool
    committed: Sequence[np.ndarray] = ()
    frames: bool = False
    constraints: Mapping[str, np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """``plan`` is None where none was asked for; ``busy_s`` is what it all took."""

    plan: PlanFacts | None
    busy_s: float


@dataclasses.dataclass(frozen=True)
class Failure:
    """The last that is heard of a planner that could not go on."""

    reason: str
    trace: str = ""


READY = "ready"


def main(connection: Connection, make: Callable[..., BeliefAgent], arguments: tuple) -> None:
    """The whole life of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the program that asks
    serve(connection, make, arguments)


def serve(connection: Connection, make: Callable[..., BeliefAgent], arguments: tuple) -> None:
    """Answer requests until the other end closes. What goes wrong is told, and is the end."""
    try:
        agent = make(*arguments)
        connection.send(READY)
        while True:
            connection.send(think(agent, connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except UserError as error:
        connection.send(Failure(str(error)))
    except Exception as error:
        connection.send(Failure(f"{type(error).__name__}: {error}", traceback.format_exc()))


def think(agent: BeliefAgent, request: Request) -> Answer:
    """Let ``agent`` live through the steps of a request, and plan at the last if that is wanted."""
    begin = time.perf_counter()
    if request.constraints is not None:
        agent.reset()
        agent.constrain(request.constraints)
    for step in request.steps:
        if step.executed is not None:
            agent.executed(step.executed)
        if step is request.steps[-1] and request.plan:
            break  # it is observed as it is acted on
        if step.observation is None:
            agent.unseen()
        else:
            agent.observe(step.observation)
    if not request.plan:
        agent.last_plan = None  # the next one does not follow on it
        return Answer(None, time.perf_counter() - begin)
    observation = request.steps[-1].observation
    if observation is None:
        raise ValueError("a plan was asked for without an observation to plan from")
    agent.act(observation, request.committed)
    return Answer(_facts(agent, request.frames), time.perf_counter() - begin)


def _facts(agent: BeliefAgent, with_frames: bool) -> PlanFacts:
    plan, belief = agent.last_plan, agent.belief
    if plan is None or belief is None:
        raise UserError("this agent does not plan: dispatch needs one with a planner.")
    frames: Mapping[str, Any] = {}
    if with_frames:
        frames = imagined_frames(agent.model, [belief, *plan.states])
    return plan_facts(plan, frames)
