"""Plan one episode, dispatch it to the simulated arm, and show what was imagined beside what happened.

Every command passes the safety gate that a real arm has. OUT gets plan_card.png, plan_card.html
(self-contained), plan.json (every plan, decision and receipt) and episode.mp4; with ``record=true`` also
the bag OUT/run, which replay.py reads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import MISSING
from rich.console import Console

from robowm import agents, cli
from robowm.agents import Trained
from robowm.dispatch import loop
from robowm.dispatch.arms.sim import SimArm, SimArmConfig
from robowm.dispatch.loop import LoopConfig
from robowm.dispatch.record.recording import Recorder
from robowm.dispatch.record.records import Event, Kind, Listener, plain
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.errors import UserError
from robowm.evaluation import hindsight, plan_card
from robowm.evaluation.pictures import write_bytes
from robowm.evaluation.plan_card import Card, CardConfig
from robowm.evaluation.report import number, write_json
from robowm.planning.agent import BeliefAgent
from robowm.spec import TaskSpec
from robowm.tracking.video import encode_mp4


@dataclasses.dataclass
class Plan:
    """The whole configuration.

    Attributes:
      checkpoint: folder that train.py wrote, or one step folder in it.
      arm: sim; the others are for bridge.py.
      seed: episode of the split.
      split: train, validation, test, or a shift.
      threads: torch's own.
      record: the run into an MCAP bag, OUT/run.
      out: folder of the card.
    """

    checkpoint: str = MISSING
    planner: Any = MISSING
    arm: Any = MISSING
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    card: CardConfig = field(default_factory=CardConfig)
    seed: int = 0
    split: str = "test"
    device: str = "auto"
    threads: int = 1
    record: bool = False
    out: str = "outputs/plan"


def main(config: Plan) -> None:
    import robowm_envs
    from robowm_envs.joints import JointPort
    from robowm_envs.twin import Twin

    if not isinstance(config.arm, SimArmConfig):
        raise UserError(
            f"arm={config.arm.kind} does not wait for a plan, as it is done here: use arm=sim, or "
            "scripts/bridge.py."
        )
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    trained = agents.load(config.checkpoint, config.device)
    env = robowm_envs.make(split=config.split, **trained.task.arguments())
    try:
        spec = TaskSpec.from_env(env)
        trained.spec.check_same(spec, f"task {spec.task}")
        agent = trained.planner(config.planner, seed=config.seed)
        arm = SimArm(config.arm, env, JointPort(env), config.seed)
        with recording(config, spec, arm, trained) as tell:
            episode, trace = dispatch(arm, agent, Twin(), config, tell)
        write(Path(config.out), config, trained, arm, agent, episode, trace)
    finally:
        env.close()


@contextlib.contextmanager
def recording(config: Plan, spec: TaskSpec, arm: SimArm, trained: Trained) -> Iterator[Listener]:
    """Who is to be told of the run: a recorder, if one is wanted."""
    if not config.record:
        yield lambda record: None
        return
    about = {
        "checkpoint": str(trained.path),
        "config": dataclasses.asdict(config),
    }
    with Recorder(Path(config.out) / "run", spec, arm.spec, about) as recorder:
        yield recorder


def dispatch(
    arm: SimArm,
    agent: BeliefAgent,
    twin: Any,
    config: Plan,
    tell: Listener = lambda record: None,
) -> tuple[loop.Episode, hindsight.Trace]:
    recorder = hindsight.Recorder(arm.env, config.card.camera, config.card.film_size)

    def on_tick(tick: loop.Tick) -> None:
        assert agent.belief is not None and tick.plan is not None  # it has just planned
        recorder.decided(agent.belief, tick.plan, tick.executed)
        recorder.look(arm.timestep.observation)

    arm.connect()
    recorder.look(arm.timestep.observation)
    agent.constrain(arm.env.constraints() if hasattr(arm.env, "constraints") else {})
    gate = SafetyGate(config.safety, arm.spec, twin)
    spec = arm.spec
    commander = twin.commander(agent.spec.action.names, spec.position_low, spec.position_high)
    episode = loop.run(
        arm,
        agent,
        gate,
        commander,
        agent.spec.action.switch,
        over=lambda: arm.timestep.last(),
        config=config.loop,
        tell=tell,
        on_tick=on_tick,
    )
    result = json.dumps(plain({"ended": episode.ended, **arm.env.metrics()}))
    tell(Event(time.time(), episode.final.stamp_s, Kind.RESULT, result))
    return episode, recorder.trace


def write(
    out: Path,
    config: Plan,
    trained: Trained,
    arm: SimArm,
    agent: BeliefAgent,
    episode: loop.Episode,
    trace: hindsight.Trace,
) -> None:
    """The four files, and a line on the terminal."""
    out.mkdir(parents=True, exist_ok=True)
    metrics = arm.env.metrics()
    comparison = hindsight.compare(trace, agent.model, agent.spec, config.card.ahead)
    horizon = len(trace.plans[0].states)
    moments = hindsight.choose_moments(trace, agent.spec, config.card.moments, horizon)
    facts = headline(metrics, episode, agent.spec)
    planner = config.planner
    card = Card(
        title=f"{agent.spec.task}, seed {config.seed} of the {config.split} split",
        subtitle=f"{planner.kind}, {planner.samples} samples × {planner.iterations} iterations, "
        f"{horizon} steps ahead · {trained.name}, update {trained.step:,}",
        facts=facts,
        rows=[plan_card.row(tick.to_dict(), horizon) for tick in episode.ticks],
        control_dt_s=agent.spec.control_dt_s,
        comparison=comparison,
        moments=[
            (
                t,
                plan_card.planned_images(trace, agent.model, t, config.card.camera),
                np.stack(trace.seen[t : t + horizon + 1]) if trace.seen else plan_card.NO_PICTURES,
            )
            for t in moments
        ],
    )
    mp4 = encode_mp4(plan_card.film(trace, agent.model, config.card), 1 / agent.spec.control_dt_s)
    write_bytes(out / "episode.mp4", mp4)
    write_bytes(out / "plan_card.png", card.png())
    card.page(mp4).write(out / "plan_card.html")
    write_json(
        out / "plan.json",
        {
            "task": agent.spec.task,
            "split": config.split,
            "seed": config.seed,
            "checkpoint": str(trained.path),
            "planner": dataclasses.asdict(planner),
            "metrics": {k: v if math.isfinite(v) else None for k, v in metrics.items()},
            "errors": comparison.mean(),
            "moments": [{"step": t, **comparison.at(t)} for t in moments],
            **episode.to_dict(),
        },
    )
    console = Console(highlight=False)
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()))
    console.print(f"{out / 'plan_card.html'}", soft_wrap=True)


def headline(metrics: dict[str, float], episode: loop.Episode, spec: TaskSpec) -> dict[str, str]:
    """What the episode came to, for people."""
    times = [tick.plan.planning_time_ms for tick in episode.ticks if tick.plan is not None]
    refused = sum(not tick.decision.accepted for tick in episode.ticks)
    degrees = math.degrees(metrics.get("rotation_error_rad", math.nan))
    facts = {
        "the task": "succeeded" if metrics["success"] > 0.5 else "failed",
        "episode": f"{len(episode.ticks) * spec.control_dt_s:.1f} s",
        "position error": number(100 * metrics.get("position_error_m", math.nan), 1, " cm"),
        "rotation error": number(degrees, 1, "°"),
        "planning (99%)": f"{np.median(times):.0f} ms ({np.quantile(times, 0.99):.0f})",
        "rejected by the gate": f"{refused} of {len(episode.ticks)}",
    }
    return {name: value for name, value in facts.items() if value != "–"}


if __name__ == "__main__":
    cli.run(main, "plan")
