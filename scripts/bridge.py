"""Drive an arm by a planner in real time: plans are shown, approved, judged, sent, and all of it recorded.

The arm is a real one behind ROS 1, ROS 2 or DDS, its stand-in (scripts/arm_server.py), or a simulation in
this process. OUT gets the bag OUT/run, which replay.py reads, OUT/cards with every plan that was offered,
and status.json.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING
from rich.console import Console

from robowm import agents, cli
from robowm.config import TaskConfig, typed
from robowm.dispatch import ARMS
from robowm.dispatch.approvals import Card
from robowm.dispatch.bench import Bench
from robowm.dispatch.dispatch_config import DispatchConfig
from robowm.dispatch.dispatcher import Dispatcher
from robowm.dispatch.paced import PacedArm
from robowm.dispatch.panel import Panel
from robowm.dispatch.planner import PlannerProcess
from robowm.dispatch.recording import Recorder
from robowm.dispatch.records import Event, Kind, plain
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.dispatch.sim import SimArm
from robowm.dispatch.terminal import Terminal
from robowm.dispatch.wire import LINKS
from robowm.evaluation import approval_card
from robowm.evaluation.report import write_json
from robowm.learning.interrupt import StopOnSignal
from robowm.spec import TaskSpec


@dataclasses.dataclass
class Bridge:
    """The whole configuration.

    Attributes:
      checkpoint: folder that train.py wrote, or the name of a shipped one.
      mode: shadow, confirm or auto; null is auto for a simulation in this process, else confirm.
      proposals: behaviour that proposes to the planner, all or none.
      seed: episode that a simulated arm is asked to lay out; null leaves the scene as it is.
      split: its split.
      duration_s: after which it ends; null leaves that to the episode and the operator.
      record: the run into an MCAP bag, OUT/run.
      terminal: an operator sits there.
      threads: torch's own, in the planner's process.
      out: folder of what is kept.
    """

    checkpoint: str = MISSING
    planner: Any = MISSING
    arm: Any = MISSING
    mode: str | None = None
    proposals: str = agents.ALL_PROPOSALS
    dispatch: DispatchConfig = field(default_factory=DispatchConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    seed: int | None = None
    split: str = "test"
    duration_s: float | None = None
    record: bool = True
    terminal: bool = True
    device: str = "auto"
    threads: int = 1
    out: str = "outputs/bridge"


def main(config: Bridge) -> None:
    from robowm_envs.twin import Twin

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    saved = agents.find(config.checkpoint)
    task = typed(TaskConfig, saved.config["task"])
    mode = config.mode or ("auto" if config.arm.kind == "sim" else "confirm")
    settings = dataclasses.replace(config.dispatch, mode=mode)
    twin = Twin()
    with contextlib.ExitStack() as stack:
        planner = PlannerProcess(
            agents.planning_agent,
            config.checkpoint,
            config.planner,
            config.proposals,
            config.device,
            config.threads,
            config.seed or 0,
        )
        stack.callback(planner.close)
        planner.start()  # it loads while we connect
        world = stack.enter_context(connected(config, task, saved.spec, twin))
        arm = world.arm
        dispatcher = Dispatcher(
            arm,
            planner,
            SafetyGate(config.safety, arm.spec, twin),
            twin.commander(saved.spec.action.names, arm.spec.position_low, arm.spec.position_high),
            saved.spec.action.switch,
            settings,
        )
        if config.record:
            about = {"checkpoint": str(saved.path), "config": dataclasses.asdict(config)}
            recorder = Recorder(Path(config.out) / "run", saved.spec, arm.spec, about)
            dispatcher.listen(stack.enter_context(recorder))
        stack.enter_context(keeping_cards(dispatcher, Path(config.out) / "cards"))
        over = threading.Event()
        if config.terminal:
            Terminal(dispatcher, sys.stdin, sys.stdout, over.set).start()
        if world.link is not None:
            panel = Panel(world.link, dispatcher)
            stack.callback(panel.close)
        dispatcher.begin(world.constraints())
        ends_s = time.monotonic() + (config.duration_s or float("inf"))
        with StopOnSignal() as stop:
            dispatcher.run(
                lambda: (
                    over.is_set()
                    or stop.signal is not None
                    or world.over()
                    or time.monotonic() > ends_s
                )
            )
        write(config, dispatcher, world.result())


@dataclasses.dataclass
class World:
    """An arm and what stands around it."""

    arm: Any
    link: Any = None
    bench: Bench | None = None

    def constraints(self) -> dict[str, np.ndarray]:
        if self.bench is not None:
            return self.bench.constraints
        env = self.arm.arm.env if isinstance(self.arm, PacedArm) else None
        return env.constraints() if env is not None and hasattr(env, "constraints") else {}

    def over(self) -> bool:
        if self.bench is not None:
            return self.bench.over
        return isinstance(self.arm, PacedArm) and self.arm.over

    def result(self) -> dict[str, Any]:
        """Of the episode; empty where nobody judges it."""
        if self.bench is not None:
            return self.bench.finish()
        return self.arm.arm.env.metrics() if isinstance(self.arm, PacedArm) else {}


@contextlib.contextmanager
def connected(config: Bridge, task: TaskConfig, spec: TaskSpec, twin: Any) -> Iterator[World]:
    import robowm_envs
    from robowm_envs.joints import JointPort

    if config.arm.kind == "sim":
        env = robowm_envs.make(split=config.split, **task.arguments())
        arm: Any = PacedArm(SimArm(config.arm, env, JointPort(env), config.seed or 0))
        with contextlib.closing(env), contextlib.closing(arm):
            spec.check_same(TaskSpec.from_env(env), f"task {spec.task}")
            arm.connect()
            yield World(arm)
        return
    model = robowm_envs.make(**{**task.arguments(), "observation": "state"})  # draws nothing
    joints = JointPort(model)
    kind = ARMS[config.arm.kind]
    link = LINKS[kind.link_kind](config.arm.node, config.arm.namespace)

    def senses(q: np.ndarray, dq: np.ndarray, effort: np.ndarray | None) -> dict[str, np.ndarray]:
        return {"proprio": twin.proprio(q, dq, np.zeros_like(q) if effort is None else effort)}

    arm = kind(config.arm, joints, spec.observation, senses, link=link)
    with contextlib.closing(model), contextlib.closing(arm):
        arm.connect()
        bench = None
        if config.seed is not None:
            bench = Bench(link)
            bench.begin(config.seed, config.split)
        yield World(arm, link, bench)


@contextlib.contextmanager
def keeping_cards(dispatcher: Dispatcher, folder: Path) -> Iterator[None]:
    """Write every card that is offered, beside the control loop."""
    with concurrent.futures.ThreadPoolExecutor(1) as writer:

        def keep(card: Card) -> None:
            writer.submit(approval_card.write, folder, card.to_dict(), card.frames)

        dispatcher.approvals.viewers.append(keep)
        yield


def write(config: Bridge, dispatcher: Dispatcher, result: dict[str, Any]) -> None:
    status = plain(dispatcher.status())
    if result:
        stamp_s = dispatcher.status().stamp_s
        dispatcher.tell(Event(time.time(), stamp_s, Kind.RESULT, json.dumps(plain(result))))
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "status.json", {"status": status, "result": plain(result)})
    facts = [
        f"{status[name]} {name.replace('_', ' ')}"
        for name in ("steps", "plans", "sent", "rejections", "holds", "deadline_misses")
    ]
    if "success" in result:
        facts.insert(0, "succeeded" if result["success"] > 0.5 else "failed")
    Console(highlight=False).print(" · ".join(facts))


if __name__ == "__main__":
    cli.run(main, "bridge")
