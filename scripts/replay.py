"""What recorded runs came to: a page to look at, numbers, and episodes to learn from.

OUT gets, for each bag, replay.html (self-contained), replay.json and film.mp4; with ``episodes=true`` also
data/*.hdf5, which train.py takes as ``data``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING
from rich.console import Console
from rich.progress import track

from robowm import agents, cli
from robowm.data.episode import Episode
from robowm.data.store import SUFFIX, EpisodeWriter
from robowm.dispatch.record.account import account
from robowm.dispatch.record.bag import Run, bags_in, read_run
from robowm.dispatch.record.episodes import episodes_of
from robowm.dispatch.record.records import Judged, Observed, Planned
from robowm.errors import UserError
from robowm.evaluation.films import film_imagination
from robowm.evaluation.pictures import Image, write_bytes
from robowm.evaluation.report import write_json
from robowm.evaluation.run_page import film_frames, headline, run_page, strips
from robowm.models.protocol import Decodes
from robowm.spec import TaskSpec
from robowm.tracking.video import encode_mp4

FEW = 4  # steps that a model sees before it imagines


@dataclasses.dataclass
class Replay:
    """The whole configuration.

    Attributes:
      bag: an MCAP file that a run left, or a folder of them.
      episodes: also write what was seen and done as training data.
      moments: plans shown beside what happened, where their imagination was recorded.
      checkpoint: whose model shall imagine the longest episode from its actions; null asks none.
      ahead: steps that it imagines.
      out: folder of the report; of several bags, each has a folder in it.
    """

    bag: str = MISSING
    episodes: bool = False
    moments: int = 4
    checkpoint: str | None = None
    ahead: int = 40
    device: str = "auto"
    out: str = "outputs/replay"


def main(config: Replay) -> None:
    if config.moments < 0 or config.ahead < 1:
        raise UserError(
            f"moments is {config.moments} and ahead {config.ahead}: give 0 or more of the first and 1 or "
            "more of the second."
        )
    trained = config.checkpoint and agents.load(config.checkpoint, config.device)
    console, out = Console(highlight=False), Path(config.out)
    bags = bags_in(config.bag)
    names = labels(bags)
    spec: TaskSpec | None = None
    for path in track(bags, "bags", console=console, disable=len(bags) == 1):
        folder = out / names[path] if len(bags) > 1 else out
        run = read_run(path)
        data, pictures = account(run), film(run)
        lived = episodes_of(run) if trained or config.episodes else []
        foretold = foretell(trained, run, lived, config.ahead) if trained else None
        episodes = lived if config.episodes else []
        spec = spec or run.spec
        if config.episodes and run.spec != spec:
            raise UserError(
                f"{path} is a run of {run.spec.task!r}, {bags[0]} one of {spec.task!r} or of the same task "
                "seen otherwise: make episodes of each in a folder of its own."
            )
        data["episodes"] = [episode.info | {"steps": len(episode)} for episode in episodes]
        folder.mkdir(parents=True, exist_ok=True)
        if pictures is not None:
            write_bytes(folder / "film.mp4", pictures)
        imagined = moments(run, config.moments)
        run_page(data, pictures, imagined, foretold).write(folder / "replay.html")
        write_json(folder / "replay.json", data)
        if episodes:
            shard = out / "data" / f"{names[path]}{SUFFIX}"
            shard.parent.mkdir(parents=True, exist_ok=True)
            with EpisodeWriter(shard, run.spec, {"bag": str(path)}) as writer:
                for episode in episodes:
                    writer.add(episode)
        for line in summary(path, data, config.episodes):
            console.print(line)
        console.print(f"{folder / 'replay.html'}", soft_wrap=True)


def labels(bags: Sequence[Path]) -> dict[Path, str]:
    """A name for each bag: that of its folder, with a number where it is not the only one of that name."""
    taken: dict[str, int] = {}
    found = {}
    for path in bags:
        name = path.parent.parent.name if path.parent.name == path.stem else path.stem
        name = name or path.stem
        taken[name] = taken.get(name, 0) + 1
        found[path] = name if taken[name] == 1 else f"{name}_{taken[name]}"
    return found


def film(run: Run) -> bytes | None:
    """MP4 of what was seen at each step, in time; None where there are no pictures."""
    steps = [
        record
        for record in run.records
        if isinstance(record, Observed) and record.step is not None and cameras(record, run.spec)
    ]
    shown = [record for record in steps if cameras(record, run.spec) == run.spec.images]
    if not shown:
        return None
    judged = (record for record in run.records if isinstance(record, Judged))
    refused = {record.stamp_s for record in judged if not record.decision.accepted}
    frames = film_frames(
        [[record.observation.arrays[name] for name in run.spec.images] for record in shown],
        [record.stamp_s in refused for record in shown],
    )
    between_s = np.diff([record.stamp_s for record in shown])
    usual_s = float(np.median(between_s)) if len(between_s) else run.spec.control_dt_s
    return encode_mp4(frames, 1 / min(max(usual_s, 0.02), 1.0))


def cameras(record: Observed, spec: TaskSpec) -> tuple[str, ...]:
    """The pictures of the task that an observation has in the sizes that the task has."""
    arrays: Mapping[str, Any] = record.observation.arrays
    return tuple(
        name
        for name in spec.images
        if name in arrays and arrays[name].shape == spec.observation[name].shape
    )


def moments(run: Run, count: int) -> list[tuple[str, Image]]:
    """Some plans, evenly in time, whose imagination was recorded: it and what then happened."""
    plans: list[tuple[int, Planned]] = []
    seen: dict[tuple[int, int], Observed] = {}
    episode = 0
    for record in run.records:
        if isinstance(record, Observed):
            episode = record.episode
            if record.step is not None:
                seen.setdefault((episode, record.step), record)
        elif isinstance(record, Planned) and record.frames:
            plans.append((episode, record))
    found = []
    for at in np.unique(np.linspace(0, len(plans) - 1, min(count, len(plans))).round().astype(int)):
        episode, plan = plans[at]
        camera, imagined = next(iter(plan.frames.items()))
        name = f"image_{camera}"
        happened = []
        for h in range(len(imagined)):
            # The first is what was believed; what is planned begins after the steps of lead.
            now = seen.get((episode, plan.step + (plan.lead_steps + h if h else 0)))
            if now is None or name not in now.observation.arrays:
                break
            happened.append(now.observation.arrays[name])
        if happened:
            words = f"{plan.plan_id}, step {plan.step}: now and the next {len(imagined) - 1} steps"
            found.append((words, strips(imagined, np.stack(happened))))
    return found


def foretell(
    trained: agents.Trained, run: Run, episodes: Sequence[Episode], ahead: int
) -> bytes | None:
    """MP4 of the longest episode as the model imagines it after a few steps; None where there is none."""
    trained.spec.check_same(run.spec, str(run.path))
    model, shows = trained.model, isinstance(trained.model, Decodes)
    if not shows:
        raise UserError(f"the model of {trained.path} shows no pictures: leave the checkpoint out.")
    if not episodes:
        return None
    episode = max(episodes, key=len)
    start = min(FEW, len(episode) - 1)
    film = film_imagination(model, episode, run.spec, start, ahead)
    return encode_mp4(film.frames(), 1 / run.spec.control_dt_s)


def summary(path: Path, data: Mapping[str, Any], episodes: bool) -> list[str]:
    """Lines for the terminal."""
    facts = " · ".join(f"{name} {value}" for name, value in headline(data).items())
    lines = [f"{path}: {data['duration_s']:.1f} s · {facts}"]
    if episodes:
        count, steps = (
            len(data["episodes"]),
            sum(episode["steps"] for episode in data["episodes"]),
        )
        lines.append(f"{count} episode{'s' * (count != 1)} to learn from, {steps} steps")
    return lines


if __name__ == "__main__":
    cli.run(main, "replay")
