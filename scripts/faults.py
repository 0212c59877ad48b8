"""Everything that may go wrong between a planner and an arm, over a real middleware, many times.

An arm server runs in a process of its own, a bridge in this one, and a witness hears what is on the wire.
OUT gets faults.json and faults.md: how often each promise was kept, and what was measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from robowm import agents, cli
from robowm.config import TaskConfig, typed
from robowm.dispatch.bench.trials import scenarios
from robowm.dispatch.bench.trials.rig import Broken, Rig
from robowm.dispatch.limits import LimitsConfig
from robowm.dispatch.record.records import plain
from robowm.dispatch.wire import LINKS
from robowm.errors import UserError, unknown
from robowm.evaluation.benchmark import machine
from robowm.evaluation.metrics import wilson
from robowm.evaluation.pictures import write_bytes
from robowm.evaluation.report import write_json

SCRIPTS = Path(__file__).parent
REACHING = ("dds", "ros2")  # another process, with several nodes in this one
END_S = 10.0


@dataclasses.dataclass
class Faults:
    """The whole configuration.

    Attributes:
      link: ros2 or dds; a process has but one node of ROS 1.
      faults: names of them; none is all.
      repeats: of each.
      seed: of the first scene; the others follow.
      checkpoint: that the bridge in another process has.
      domain: ROS_DOMAIN_ID; none takes one by the number of this process.
      out: folder of the table.
    """

    link: str = "dds"
    faults: list[str] | None = None
    repeats: int = 20
    seed: int = 0
    checkpoint: str = "grasp_rotate_place"
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    domain: int | None = None
    out: str = "outputs/faults"


def main(config: Faults) -> int:
    names = config.faults or list(scenarios.SCENARIOS)
    for name in names:
        if name not in scenarios.SCENARIOS:
            raise unknown("fault", name, scenarios.SCENARIOS)
    if config.link not in REACHING:
        raise unknown("link", config.link, REACHING)
    if config.repeats < 1:
        raise UserError(f"repeats is {config.repeats}: give at least 1.")
    console = Console(highlight=False)
    rows: list[dict[str, Any]] = []
    with rig(config) as bench:
        for name in names:
            rows.append(trial(bench, name, config.repeats, config.seed, console))
            console.print(line(rows[-1]), soft_wrap=True)
            write(config, rows)  # each time: all of them take an hour and more
    console.print(str(Path(config.out) / "faults.md"), soft_wrap=True)
    return int(any(row["broken"] for row in rows))


def write(config: Faults, rows: Sequence[dict[str, Any]]) -> None:
    """OUT/faults.json and OUT/faults.md."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    facts = machine(torch.device("cpu"))
    data = {"link": config.link, "repeats": config.repeats, "machine": facts, "rows": list(rows)}
    write_json(out / "faults.json", plain(data))
    table = ["| fault | kept | measured: median (worst) |", "|---|---|---|", *map(line, rows)]
    write_bytes(out / "faults.md", ("\n".join(table) + "\n").encode())


@contextlib.contextmanager
def rig(config: Faults) -> Iterator[Rig]:
    """The arm server's process, and what a trial needs."""
    import robowm_envs
    from robowm_envs.joints import JointPort
    from robowm_envs.twin import Twin

    saved = agents.find(config.checkpoint)
    domain = 1 + os.getpid() % 100 if config.domain is None else config.domain
    # Loopback alone: nothing of this reaches another robot.
    os.environ |= {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    task = typed(TaskConfig, saved.config["task"])
    env = robowm_envs.make(**{**task.arguments(), "observation": "state"})
    joints = JointPort(env)
    env.close()
    with contextlib.ExitStack() as stack:
        stack.enter_context(started("arm_server.py", f"link={config.link}", f"seed={config.seed}"))
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        other = functools.partial(
            start, "bridge.py", f"arm={config.link}", "mode=auto", "record=false", "terminal=false",
            f"checkpoint={config.checkpoint}", f"out={kept}",
        )  # fmt: skip
        made = Rig(
            functools.partial(LINKS[config.link], domain=domain),
            Twin,
            joints,
            saved.spec,
            config.limits,
            other,
        )
        stack.callback(made.close)
        yield made


def start(script: str, *settings: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, SCRIPTS / script, *settings])


@contextlib.contextmanager
def started(script: str, *settings: str) -> Iterator[None]:
    process = start(script, *settings)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()


def trial(bench: Rig, name: str, repeats: int, seed: int, console: Console) -> dict[str, Any]:
    measured: dict[str, list[float]] = {}
    broken: list[str] = []
    for number in range(repeats):
        try:
            for key, value in scenarios.run(bench, name, seed + number).items():
                measured.setdefault(key, []).append(float(value))
        except Broken as error:
            broken.append(f"trial {number}: {error}")
            console.print(f"{name}, {broken[-1]}", soft_wrap=True)
    kept = wilson(repeats - len(broken), repeats)
    return {
        "fault": name,
        "repeats": repeats,
        "kept": repeats - len(broken),
        "kept_low": kept.low,
        "broken": broken,
        "measured": {key: summary(values) for key, values in measured.items()},
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "worst": float(np.max(values))}


def line(row: dict[str, Any]) -> str:
    said = ", ".join(
        f"{key} {value['median']:.3g} ({value['worst']:.3g})"
        for key, value in row["measured"].items()
    )
    return f"| {row['fault']} | {row['kept']} of {row['repeats']} | {said} |"


if __name__ == "__main__":
    cli.run(main, "faults")
