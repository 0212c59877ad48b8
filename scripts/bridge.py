"""A trained model drives an arm: it plans, shows the plan, and moves as far as its mode lets it.

Real arms are reached over ROS 2, ROS 1 or DDS; arm=sim is a simulated one in this process, in real time.
Nothing moves without an approval unless mode=auto is asked for. With ``episodes`` the bench of
scripts/arm_server.py lays episodes out and judges them, and OUT gets report.json and report.html in the
form of evaluate.py's. Each run is recorded as a bag, OUT/run_000 and so on, which replay.py reads, and
OUT/cards has every plan that was offered.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING
from rich.console import Console

from robowm import agents, cli
from robowm.agents import Trained
from robowm.dispatch import ARMS
from robowm.dispatch.arms.confined import ConfinedArm
from robowm.dispatch.arms.paced import PacedArm
from robowm.dispatch.arms.sim import SimArm
from robowm.dispatch.bench.client import Bench
from robowm.dispatch.bridge.lifecycle import LifecycleState
from robowm.dispatch.bridge.node import Bridge, BridgeConfig
from robowm.dispatch.bridge.parameters import overridden, parameters
from robowm.dispatch.bridge.tally import Tally
from robowm.dispatch.bridge.terminal import Terminal
from robowm.dispatch.online.approvals import Card
from robowm.dispatch.online.dispatch_config import DispatchConfig
from robowm.dispatch.online.planner import PlannerProcess
from robowm.dispatch.record.recording import Recorder, RecorderConfig
from robowm.dispatch.record.records import Kind, plain
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.dispatch.wire import LINKS
from robowm.dispatch.wire.lent import LentLink
from robowm.dispatch.wire.protocol import Link
from robowm.errors import UserError
from robowm.evaluation import approval_card, pages
from robowm.evaluation.failures import cause
from robowm.evaluation.metrics import summarise
from robowm.evaluation.pictures import Frames, enlarge, write_bytes
from robowm.evaluation.report import write_json
from robowm.evaluation.rollout import EpisodeResult
from robowm.learning.interrupt import StopOnSignal
from robowm.spec import TaskSpec
from robowm.tracking.video import encode_mp4

NODE = "robowm_bridge"
SCENE_S = 20.0  # in which a new episode must be seen
SETTLE_S = 0.3  # for which it is looked at before anything is planned
JUDGED_S = 30.0  # beyond an episode's time by which it must have been judged
POLL_S = 0.02
FILM_SCALE = 3  # of the pictures that the agent sees


@dataclasses.dataclass
class RunBridge:
    """The whole configuration.

    Attributes:
      checkpoint: folder that train.py wrote, or the name of one that is shipped.
      arm: ros2, dds or ros1, or sim.
      mode: shadow, confirm or auto; none is auto with arm=sim, and confirm with any other.
      proposals: behaviour that proposes to the planner, all or none.
      record: each run as a bag.
      terminal: an operator sits there; null is where there is one.
      autostart: configure and activate at once; else that waits for ~/start, or for a lifecycle manager.
      goal: in place of the one that comes by topic.
      episodes: that the bench lays out; 0 goes on until it is told to end.
      seed: of the first; the others follow.
      split: train, validation, test, or a shift.
      push: object or arm, to be knocked against once in the middle of each episode.
      duration_s: after which it ends; null leaves that to the operator, or to the simulated episode.
      device: of the model, in the planner's process.
      threads: torch's own there.
      out: folder of what is kept.
      ros_args: what followed --ros-args.
    """

    checkpoint: str = MISSING
    planner: Any = MISSING
    arm: Any = MISSING
    mode: str | None = None
    dispatch: DispatchConfig = field(default_factory=DispatchConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    recorder: RecorderConfig = field(default_factory=RecorderConfig)
    proposals: str = agents.ALL_PROPOSALS
    record: bool = True
    terminal: bool | None = None
    autostart: bool = True
    goal: list[float] | None = None
    episodes: int = 0
    seed: int = 0
    split: str = "test"
    push: str = "none"
    duration_s: float | None = None
    device: str = "auto"
    threads: int = 1
    out: str = "outputs/bridge"
    ros_args: list[str] = field(default_factory=list)


def main(config: RunBridge) -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", force=True)
    if config.episodes < 0 or (config.episodes and config.arm.kind == "sim"):
        raise UserError(
            f"episodes is {config.episodes} with arm={config.arm.kind}: give 0 or more, and for a simulated "
            "arm in this process use scripts/evaluate.py."
        )
    config = with_mode(config)
    ends_s = time.monotonic() + (config.duration_s or float("inf"))
    with contextlib.ExitStack() as stack, StopOnSignal() as stop:
        link, node, config = joined(config, stack)
        trained = agents.load(config.checkpoint, "cpu")  # it plans in another process
        arm = stack.enter_context(arm_of(config, trained, link))
        bridge = assembled(config, trained, arm, link, node)
        stack.callback(bridge.close)
        if node is not None:
            node.manage(bridge)
        quits = threading.Event()

        def stopped() -> bool:
            return quits.is_set() or stop.signal is not None or time.monotonic() > ends_s

        if config.episodes:
            evaluate(config, trained, bridge, Bench(link), stopped)
            return
        stack.enter_context(keeping_cards(bridge, Path(config.out) / "cards"))
        if sys.stdin.isatty() if config.terminal is None else config.terminal:
            Terminal(bridge.dispatcher, sys.stdin, sys.stdout, quits.set).start()
        serve(config, bridge, stopped)


def with_mode(config: RunBridge) -> RunBridge:
    """With the mode that is meant, in the dispatcher's own settings."""
    mode = config.mode or ("auto" if config.arm.kind == "sim" or config.episodes else "confirm")
    return dataclasses.replace(config, dispatch=dataclasses.replace(config.dispatch, mode=mode))


def joined(config: RunBridge, stack: contextlib.ExitStack) -> tuple[Link, Any, RunBridge]:
    """The bridge's link, open; with ROS 2 its lifecycle node, whose parameters are in the configuration."""
    arm = config.arm
    if arm.kind != "ros2":
        if config.ros_args:
            raise UserError(f"--ros-args is for arm=ros2, this is arm={arm.kind}.")
        link = LINKS["local"](NODE) if arm.kind == "sim" else LINKS[arm.kind](NODE, arm.namespace)
        link.open()
        stack.callback(link.close)
        return link, None, config

    def make_node(name: str, **arguments: Any) -> Any:
        from robowm.dispatch.bridge.ros2_node import BridgeNode

        return BridgeNode(name, parameters(config), **arguments)

    link = LINKS["ros2"](NODE, arm.namespace, arguments=config.ros_args, make_node=make_node)
    link.open()
    stack.callback(link.close)
    config = overridden(config, link.node.overrides())
    said = dataclasses.replace(config.arm, namespace=link.namespace.strip("/"), node=link.name)
    return link, link.node, dataclasses.replace(config, arm=said)


@contextlib.contextmanager
def arm_of(config: RunBridge, trained: Trained, link: Link) -> Iterator[Any]:
    """Not connected yet: that is the bridge's to do."""
    import robowm_envs
    from robowm_envs.joints import JointPort
    from robowm_envs.twin import Twin

    if config.arm.kind == "sim":
        with simulated(config, trained) as arm:
            yield arm
        return
    options = trained.task.arguments() | {"observation": "state"}  # it draws nothing
    with contextlib.closing(robowm_envs.make(**options)) as env:
        joints = JointPort(env)
    twin = Twin()

    def senses(q: np.ndarray, dq: np.ndarray, effort: np.ndarray | None) -> dict[str, np.ndarray]:
        return {"proprio": twin.proprio(q, dq, np.zeros_like(q) if effort is None else effort)}

    goal = None if config.goal is None else np.array(config.goal, np.float32)
    yield ARMS[config.arm.kind](
        config.arm, joints, trained.spec.observation, senses, goal=goal, link=LentLink(link)
    )


@contextlib.contextmanager
def simulated(config: RunBridge, trained: Trained) -> Iterator[ConfinedArm[PacedArm]]:
    """In this process, in real time; drawn on a thread of its own."""
    import robowm_envs
    from robowm_envs.joints import JointPort

    def make() -> PacedArm:
        options = trained.task.arguments()
        env = robowm_envs.make(split=config.split, push=config.push, **options)
        trained.spec.check_same(TaskSpec.from_env(env), f"task {trained.spec.task}")
        return PacedArm(SimArm(config.arm, env, JointPort(env), config.seed))

    arm = ConfinedArm(make)
    try:
        yield arm
    finally:
        arm.run(arm.arm.arm.env.close)
        arm.end()


def assembled(config: RunBridge, trained: Trained, arm: Any, link: Link, node: Any) -> Bridge:
    from robowm_envs.twin import Twin

    # A twin of the dispatcher's own: another thread works out proprioception meanwhile.
    twin, spec = Twin(), arm.spec
    actions = trained.spec.action
    planner = PlannerProcess(
        agents.planning_agent,
        str(trained.path),
        config.planner,
        config.proposals,
        config.device,
        config.threads,
        config.seed,
    )
    return Bridge(
        link,
        arm,
        planner,
        SafetyGate(config.safety, spec, twin),
        twin.commander(actions.names, spec.position_low, spec.position_high),
        actions.switch,
        config.dispatch,
        config.bridge,
        record=functools.partial(recorder, config, trained, arm) if config.record else None,
        machine=node,
    )


def recorder(config: RunBridge, trained: Trained, arm: Any) -> Recorder:
    """Of one activation, in the first folder OUT/run_... that is free."""
    about = {"checkpoint": str(trained.path), "config": dataclasses.asdict(config)}
    folders = (Path(config.out) / f"run_{number:03d}" for number in range(10**6))
    free = next(folder for folder in folders if not folder.exists())
    free.parent.mkdir(parents=True, exist_ok=True)
    return Recorder(free, trained.spec, arm.spec, about, config.recorder)


@contextlib.contextmanager
def keeping_cards(bridge: Bridge, folder: Path) -> Iterator[None]:
    """Write every card that is offered, beside the control loop."""
    with concurrent.futures.ThreadPoolExecutor(1) as writer:

        def keep(card: Card) -> None:
            writer.submit(approval_card.write, folder, card.to_dict(), card.frames)

        bridge.approvals.viewers.append(keep)
        yield


def serve(config: RunBridge, bridge: Bridge, stopped: Callable[[], bool]) -> None:
    """Until it is told to end, the node is shut down, or a simulated episode is over."""
    world = bridge.arm.arm if isinstance(bridge.arm, ConfinedArm) else None  # a simulation
    if config.autostart:
        done, why = bridge.machine.change("configure")
        if not done:
            raise UserError(why)
        if world is not None and hasattr(world.arm.env, "constraints"):
            bridge.constraints = world.arm.env.constraints()
        bridge.start()  # where that is refused it says why, and ~/start tries again
    while not stopped() and bridge.state is not LifecycleState.FINALIZED:
        if world is not None and world.over:
            break
        time.sleep(POLL_S)
    result = {} if world is None else world.arm.env.metrics()
    if result:
        bridge.note(Kind.RESULT, json.dumps(plain(result)))
    out, status = Path(config.out), bridge.status()
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "status.json", {"status": status["dispatch"], "result": plain(result)})
    facts = [
        f"{status['dispatch'][name]} {name.replace('_', ' ')}"
        for name in ("steps", "plans", "sent", "rejections", "holds", "deadline_misses")
    ]
    if "success" in result:
        facts.insert(0, "succeeded" if result["success"] > 0.5 else "failed")
    Console(highlight=False).print(" · ".join(facts))


def evaluate(
    config: RunBridge,
    trained: Trained,
    bridge: Bridge,
    bench: Bench,
    stopped: Callable[[], bool],
) -> None:
    """Episodes one after the other; report, page and films."""
    done, why = bridge.machine.change("configure")
    if not done:
        raise UserError(why)
    console = Console(highlight=False)
    results: list[EpisodeResult] = []
    tallies: list[Tally] = []
    bridge.dispatcher.listen(lambda record: tallies[-1](record))
    films: dict[str, Frames] = {}
    for seed in range(config.seed, config.seed + config.episodes):
        if stopped():
            break
        tallies.append(tally := Tally("image_front"))
        metrics = episode(config, bridge, bench, seed, stopped)
        results.append(result := result_of(seed, metrics, tally))
        outcome = "success" if result.success else "failure"
        said = outcome if result.success else f"{outcome} ({cause(result)})"
        console.print(f"seed {seed}: {said}, {tally.summary()}", soft_wrap=True)
        if tally.frames and not any(caption.endswith(outcome) for caption in films):
            film = enlarge(np.stack(tally.frames), FILM_SCALE)
            films[f"planner, seed {seed}: {outcome}"] = film
    if not results:
        return
    data = report(config, trained, results, tallies)
    out = Path(config.out)
    write_json(out / "report.json", data)
    shown = list(films.items())
    for caption, frames in shown:
        name = caption.replace(", ", "_").replace(": ", "_").replace(" ", "_")
        write_bytes(out / f"{name}.mp4", encode_mp4(frames, 1 / trained.spec.control_dt_s))
    pages.evaluation_page(data, shown).write(out / "report.html")
    console.print(
        f"success {100 * data['success']:.0f}% ({100 * data['success_low']:.0f}% to "
        f"{100 * data['success_high']:.0f}%) of {len(results)}"
    )
    for path in (out / "report.html", *sorted(out.glob("*.mp4")), *sorted(out.glob("run_*"))[:1]):
        console.print(str(path), soft_wrap=True)


def episode(
    config: RunBridge, bridge: Bridge, bench: Bench, seed: int, stopped: Callable[[], bool]
) -> Mapping[str, float | None]:
    """Its result, as the bench judges it."""
    bench.begin(seed, config.split, config.push)
    await_scene(bridge, bench)
    done, why = bridge.start()
    if not done:
        raise UserError(f"seed {seed}: {why}")
    ends_s = time.monotonic() + bench.time_limit_s + JUDGED_S
    while not (bench.over or stopped() or time.monotonic() > ends_s):
        if bridge.state is not LifecycleState.ACTIVE:
            break
        time.sleep(POLL_S)
    metrics = bench.finish()
    bridge.note(Kind.RESULT, json.dumps(dict(metrics)))
    bridge.stop()
    return metrics


def await_scene(bridge: Bridge, bench: Bench) -> None:
    """Until the arm shows the scene that was laid out: its goal, at rest, in new pictures."""
    ends_s = time.monotonic() + SCENE_S
    while True:
        goal = bridge.arm.observe().arrays.get("goal")
        if bench.goal is None or (goal is not None and np.allclose(goal.ravel(), bench.goal)):
            break
        if time.monotonic() > ends_s:
            raise UserError("the goal of the new episode has not come: who publishes another?")
        time.sleep(POLL_S)
    time.sleep(SETTLE_S)


def result_of(seed: int, metrics: Mapping[str, float | None], tally: Tally) -> EpisodeResult:
    def number(name: str) -> float:
        value = metrics.get(name)
        return float("nan") if value is None else float(value)

    def flag(name: str) -> bool | None:
        return number(name) > 0.5 if name in metrics else None

    return EpisodeResult(
        seed=seed,
        episode_return=float("nan"),  # nobody rewards a real arm
        success=number("success") > 0.5,
        latched_success=number("success") > 0.5,  # who listens to messages sees the end alone
        position_error_m=number("position_error_m"),
        rotation_error_rad=number("rotation_error_rad"),
        position_fits=number("position_fits") > 0.5,
        rotation_fits=number("rotation_fits") > 0.5,
        grasped=flag("grasped"),
        lifted=flag("lifted"),
        dropped=flag("dropped"),
        entered=flag("entered"),
        out_of_order=flag("out_of_order"),
        steps=len(tally.actions),
        latency_ms=np.array(tally.planning_ms),
        actions=np.array(tally.actions, np.float32),
    )


def report(
    config: RunBridge, trained: Trained, results: list[EpisodeResult], tallies: list[Tally]
) -> dict[str, Any]:
    """What report.json holds: a row of evaluate.py's, and what became of the dispatch."""
    row = {
        "task": trained.task.name,
        "agent": "planner",
        "checkpoint": str(trained.path),
        "updates": trained.step,
        "train_seed": trained.seed,
        "env_steps": trained.env_steps,
        "minutes": trained.minutes,
        "observation": trained.task.observation,
        "split": config.split,
        "push": config.push,
        "seed": config.seed,
        "batch": 1,
        **summarise(results),
        "planner": dataclasses.asdict(config.planner) | {"proposals": config.proposals},
        "arm": config.arm.kind,
        "mode": config.dispatch.mode,
        "dispatch": [
            {"seed": r.seed, **t.to_dict()} for r, t in zip(results, tallies, strict=True)
        ],
    }
    return plain(row)  # type: ignore[no-any-return]


if __name__ == "__main__":
    cli.run(main, "bridge")
