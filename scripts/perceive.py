"""How well a model sees: the error of each object's pose in its first belief, on starts that it was
trained on and on others.

What training prints are errors on training batches. A gap between the two splits says that more starts
would help, where a gap to the task's tolerance in both says that more updates would.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import MISSING
from rich.console import Console
from rich.progress import track
from rich.table import Table

from robowm import agents, cli
from robowm.errors import UserError
from robowm.evaluation.metrics import axis_error_rad, yaw_error_rad
from robowm.evaluation.report import write_json
from robowm.models.protocol import EstimatesPose


@dataclasses.dataclass
class Perceive:
    """The whole configuration.

    Attributes:
      checkpoint: train.py's `out`, or the name of one that is shipped.
      episodes: starts of each split, of which the first observation is seen.
      splits: of the environment, each with the seed of its first start.
      threads: torch's own.
      out: folder of perception.json.
    """

    checkpoint: str = MISSING
    episodes: int = 60
    splits: dict[str, int] = field(default_factory=dict)
    device: str = "auto"
    threads: int = 1
    out: str = "outputs/perceive"


def main(config: Perceive) -> None:
    import robowm_envs

    torch.set_num_threads(config.threads)
    if config.episodes < 1:
        raise UserError(f"episodes is {config.episodes}: give at least 1.")
    trained = agents.load(config.checkpoint, config.device)
    if not isinstance(trained.model, EstimatesPose) or not trained.spec.pose_keys:
        raise UserError(
            f"{config.checkpoint} estimates no pose: give a checkpoint of a task with objects, trained "
            "with privileged labels."
        )
    console = Console(highlight=False)
    data: dict[str, Any] = {"checkpoint": trained.name, "episodes": config.episodes}
    table = Table("object", "split", "median", "9 of 10 below", box=None)
    for split, seed in config.splits.items():
        env = robowm_envs.make(split=split, **trained.task.arguments())
        try:
            seeds = range(seed, seed + config.episodes)
            starts = [first_errors(trained, env, s) for s in track(seeds, split, console=console)]
        finally:
            env.close()
        data[split] = {
            key: {q: float(np.quantile([start[key] for start in starts], q)) for q in (0.5, 0.9)}
            for key in starts[0]
        }
        for key, errors in data[split].items():
            unit = " cm" if key.endswith("_position") else "°"
            table.add_row(key, split, *(f"{error:.2f}{unit}" for error in errors.values()))
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "perception.json", data)
    console.print(table)


def first_errors(trained: agents.Trained, env: Any, seed: int) -> dict[str, float]:
    """Of each part of each pose, in cm or degrees, after the first observation."""
    agent = trained.policy("cloning")
    belief = agent.observe(env.reset(seed=seed).observation)
    seen = {key: value[0].cpu().numpy() for key, value in trained.model.pose(belief).items()}
    return pose_errors(seen, env.privileged(), trained.spec.yaw_order)


def pose_errors(
    seen: Mapping[str, NDArray[Any]], truth: Mapping[str, NDArray[Any]], yaw_order: int
) -> dict[str, float]:
    errors: dict[str, float] = {}
    for key, value in seen.items():
        if key.endswith("_position"):
            errors[key] = 100 * float(np.linalg.norm(value - truth[key]))
        elif key.endswith("_yaw"):
            errors[key] = float(np.rad2deg(yaw_error_rad(value, truth[key], yaw_order)))
        else:
            errors[key] = float(np.rad2deg(axis_error_rad(value, truth[key])))
    return errors


if __name__ == "__main__":
    cli.run(main, "perceive")
