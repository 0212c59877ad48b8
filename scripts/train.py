"""Train a world model and a behaviour on collected episodes; the same command again goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from robowm import agents, cli
from robowm.config import TaskConfig
from robowm.data.augment import Augment, AugmentConfig
from robowm.data.collect import OnlineCollector
from robowm.data.disturbance import DisturbanceConfig
from robowm.data.replay import ReplayConfig, SequenceReplay
from robowm.data.store import open_dataset
from robowm.errors import UserError, unknown
from robowm.learning import parallel, randomness
from robowm.learning.build import build
from robowm.learning.trainer import Result, Trainer, TrainerConfig
from robowm.spec import TaskSpec
from robowm.tracking import TrackingConfig, make_logger
from robowm.tracking.protocol import Loggers

logger = logging.getLogger("robowm.train")


@dataclasses.dataclass
class Online:
    """Episodes collected while training, after ``learning.online_after`` updates.

    Attributes:
      agent: who drives: planner, actor or cloning; null collects nothing.
      seed: of the first episode, beyond those of the data; the others follow.
      disturbance: what pushes the agent off its path.
    """

    agent: str | None = None
    seed: int = 1_000_000
    disturbance: DisturbanceConfig = field(default_factory=DisturbanceConfig)


@dataclasses.dataclass
class Train:
    """The whole configuration.

    Attributes:
      data: folder that collect.py wrote, or a list of them: tasks that look alike are learned together.
      planner: for online.agent=planner.
      begin_with: a checkpoint, by folder or name, whose weights training begins with. It may be of
        another task: what does not fit there begins anew.
      out: folder of the run: checkpoints, metrics.jsonl, videos. One that holds a run is resumed.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    model: Any = MISSING
    behaviour: Any = MISSING
    learning: TrainerConfig = field(default_factory=TrainerConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    planner: Any = MISSING
    online: Online = field(default_factory=Online)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: Any = MISSING
    begin_with: str | None = None
    out: str = "outputs/train"


def main(config: Train) -> int:
    size = parallel.torchrun_size()
    if size:
        if config.learning.processes not in (1, size):
            raise UserError(
                f"learning.processes is {config.learning.processes} and torchrun started {size}: leave "
                "it out."
            )
        learning = dataclasses.replace(config.learning, processes=size)
        config = dataclasses.replace(config, learning=learning)
    config.learning.check()
    launched = parallel.launch(config.learning.processes, train, config)
    with parallel.join_torchrun() if size else launched as group:
        result = train(group, config)
    code = 128 + result.signal if result.signal else 0
    if group.size > 1 and __name__ == "__main__":
        parallel.leave(code)
    return code


def train(group: parallel.Group, config: Train) -> Result:
    """One process's part; all of them read the same data."""
    folders = [config.data] if isinstance(config.data, str) else list(config.data or [])
    datasets = [open_dataset(folder) for folder in folders]
    if not datasets:
        raise UserError("data is empty: give a folder that collect.py wrote, or a list of them.")
    wanted = images_for(datasets[0].spec, config.task, folders[0])
    datasets = [dataset.showing(wanted) for dataset in datasets]
    spec = datasets[0].spec
    replay = SequenceReplay(
        datasets,
        batch_size=config.learning.batch_size,
        length=config.learning.length,
        seed=config.learning.seed,
        memory_limit_gib=config.replay.memory_limit_gib,
        added=Path(config.out) / "online",
        labelled=config.replay.labelled,
        labels=config.replay.labels,
    )
    randomness.seed_all(config.learning.seed)
    model, behaviours = build(config.model, config.behaviour, spec)
    if config.begin_with is not None:
        given = agents.find(config.begin_with)
        anew = given.lend(model, behaviours)
        if anew and group.is_first:
            logger.info("%d tensors do not fit and begin anew, first %s", len(anew), anew[0])
    settings = dataclasses.asdict(config)
    out = Path(config.out)
    first = group.is_first
    collector = None
    if config.online.agent is not None:
        trained = agents.Trained(out, 0, config.task, spec, model, behaviours)
        collector = online_collector(config, trained)
    with progress_bar() if first else contextlib.nullcontext() as progress:
        return Trainer(
            config.learning,
            model,
            behaviours,
            replay,
            make_logger(config.tracking, out, settings) if first else Loggers({}),
            out,
            spec,
            settings,
            augment=Augment(config.augment, spec.images),
            collector=collector,
            progress=progress,
            group=group,
        ).run()


def online_collector(config: Train, trained: agents.Trained) -> OnlineCollector:
    """What is being trained, acting in its own environment, beside the expert that labels."""
    import robowm_envs
    from robowm_envs.expert import Expert

    online = config.online
    if online.agent not in agents.LEARNED:
        raise unknown("online.agent", str(online.agent), agents.LEARNED)

    def make_driver() -> Any:
        if online.agent == "planner":
            return trained.planner(config.planner)
        return trained.policy(agents.POLICIES[str(online.agent)])

    env = robowm_envs.make(**config.task.arguments())
    return OnlineCollector(env, Expert, make_driver, online.disturbance, online.seed)


def images_for(spec: TaskSpec, task: TaskConfig, data: str) -> list[str]:
    """The pictures to learn from; raises where ``data`` is of another task, or lacks some of them."""
    if spec.task != task.name:
        raise UserError(
            f"{data} holds episodes of {spec.task!r}, not of {task.name!r}: give task={spec.task} or "
            "other data."
        )
    cameras = task.cameras if task.observation == "pixels" else []
    wanted = sorted(f"image_{camera}" for camera in cameras)
    if not set(wanted) <= set(spec.images) or bool(wanted) != bool(spec.images):
        raise UserError(
            f"{data} shows {', '.join(sorted(spec.images)) or 'no images'}, but task.observation and "
            f"task.cameras ask for {', '.join(wanted) or 'none'}: collect with the same settings."
        )
    return wanted


@contextlib.contextmanager
def progress_bar() -> Iterator[Any]:
    """A function for the trainer to report to, and its messages above the bar."""
    console = Console(stderr=True)
    messages = logging.getLogger("robowm")
    handler = RichHandler(console=console, show_path=False, show_level=False)
    columns = (
        TextColumn("update"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
    )
    with Progress(*columns, console=console) as bar:
        row = bar.add_task("training", total=None, loss="")
        messages.addHandler(handler)
        messages.setLevel(logging.INFO)

        def report(step: int, updates: int | None, metrics: Mapping[str, float]) -> None:
            bar.update(row, completed=step, total=updates, loss=f"{metrics['loss']:.3g}")

        try:
            yield report
        finally:
            messages.removeHandler(handler)


if __name__ == "__main__":
    cli.run(main, "train")
