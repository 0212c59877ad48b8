"""One update of robowm's trainer on a fixed random batch: sampling and augmentation are not measured.

``parts`` is ``model`` (the world model alone), or ``all``: the cloned policy, actor and critics too,
which imagine every second update, so that a call is two updates. The trainer decodes the pictures of an
eighth of the frames; ``image_share`` 1 decodes all, as peers do. With ``processes`` each has a batch of its
own, and their gradients are averaged; ``compile`` compiles the losses.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import protocol

if __name__ == "__main__":  # nor in the processes that it starts
    answers = protocol.quiet()

import torch
import yaml

import robowm
from robowm import config
from robowm.behaviour.actor_critic import ActorCriticConfig
from robowm.learning import parallel, pretrained
from robowm.learning.build import build
from robowm.learning.parallel import Group
from robowm.learning.trainer import Trainer, TrainerConfig
from robowm.models.rssm import RSSMConfig
from robowm.spec import ArraySpec, TaskSpec
from robowm.tracking import TrackingConfig, make_logger


def random_batch(spec: TaskSpec, rows: int, length: int) -> dict[str, torch.Tensor]:
    def random(array: ArraySpec) -> torch.Tensor:
        shape = (rows, length, *array.shape)
        if array.is_image:
            return torch.randint(0, 256, shape, dtype=torch.uint8)
        return torch.rand(shape) * 2 - 1

    batch = {name: random(array) for name, array in spec.observation.items()}
    batch |= {f"privileged/{name}": random(array) for name, array in spec.privileged.items()}
    for name in ("prev_action", "action", "expert_action"):
        batch[name] = torch.rand(rows, length, spec.action.size) * 2 - 1
    for name in ("has_action", "cont", "outcome"):
        batch[name] = torch.ones(rows, length)
    batch |= {"reward": torch.rand(rows, length), "success": torch.zeros(rows, length)}
    batch["is_first"] = torch.zeros(rows, length, dtype=torch.bool)
    return batch


class FixedBatch:
    def __init__(self, batch: dict[str, torch.Tensor]) -> None:
        self.batch = batch

    def sample(self) -> dict[str, Any]:
        return dict(self.batch)

    def add(self, episode: Any) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def make_trainer(group: Group, settings: dict[str, Any], out: Path) -> Trainer:
    torch.manual_seed(0)
    spec = pretrained.load(settings["checkpoint"]).spec
    rows, length = group.size * settings["batch"], settings["length"]
    sizes = yaml.safe_load(
        (config.folder() / "model" / "rssm" / f"{settings['size']}.yaml").read_text()
    )
    del sizes["defaults"]
    sizes["image_share"] = settings["image_share"]
    model, behaviours = build(RSSMConfig(**sizes), ActorCriticConfig(begin=0), spec)
    return Trainer(
        TrainerConfig(
            updates=10**6,
            batch_size=rows,
            length=length,
            precision=settings["precision"],
            compile=settings.get("compile", False),
            device="cpu",
            threads=settings["threads"],
            processes=group.size,
        ),
        model,
        behaviours if settings["parts"] == "all" else {},
        FixedBatch(random_batch(spec, rows, length)),
        make_logger(TrackingConfig(), out, {}),
        out,
        spec,
        {},
        group=group,
    )


def update(trainer: Trainer) -> None:
    trainer._update()  # what the loop does, without its reports
    trainer.step += 1


def follow(group: Group, settings: dict[str, Any]) -> None:
    """What the other processes do: each update waits for the first process's gradients."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(group, settings, Path(folder))
        while True:
            update(trainer)


def main() -> None:
    settings = protocol.settings()
    updates = ActorCriticConfig().interval if settings["parts"] == "all" else 1
    processes = settings.get("processes", 1)
    with (
        tempfile.TemporaryDirectory() as folder,
        parallel.launch(processes, follow, settings) as group,
    ):
        trainer = make_trainer(group, settings, Path(folder))
        name = "robowm" if settings["image_share"] < 1 else "robowm, every frame decoded"
        protocol.serve(
            answers,
            {
                "name": name + ", compiled" * settings.get("compile", False),
                "version": robowm.__version__,
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "parameters": sum(p.numel() for p in trainer.model.parameters()),
                "precision": settings["precision"],
                "count": updates,
            },
            lambda: [update(trainer) for _ in range(updates)],
        )


if __name__ == "__main__":
    main()
