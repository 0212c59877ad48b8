"""One ``Dreamer.update`` of a clone of NM512/r2dreamer, with the reconstruction loss of DreamerV3.

Compile is off. Both cameras are one picture of six channels, because the clone scales the key
``image`` alone. The replay buffer is a fixed random batch in memory, so that neither storage nor
sampling is measured. Its autocast to float16, which a CPU has no fast path for, becomes none (fp32)
or one to bfloat16 (bf16); its GradScaler turns itself off without CUDA. Nothing in the clone's folder
is changed.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import protocol

answers, settings = protocol.quiet(), protocol.settings()
folder = Path(settings["folder"])
sys.path.insert(0, str(folder))

import hydra
import torch

torch.set_num_threads(settings["threads"])
torch.manual_seed(0)

import dreamer
from tensordict import TensorDict

if settings["precision"] == "bf16":
    dreamer.autocast = lambda **_: torch.autocast("cpu", torch.bfloat16)
else:
    dreamer.autocast = lambda **_: contextlib.nullcontext()

with hydra.initialize_config_dir(str(folder.resolve() / "configs"), version_base=None):
    config = hydra.compose(
        "configs",
        [
            "model=size12M", "device=cpu", "model.compile=False", "model.rep_loss=dreamer",
            "env.encoder.mlp_keys=proprio", "env.decoder.mlp_keys=proprio",
            *settings["overrides"],
        ],
    )  # fmt: skip
rows, length, action = settings["batch"], settings["length"], settings["action"]
picture = (64, 64, 3 * settings["cameras"])
vector = (settings["proprio"],)
spaces = {
    "image": SimpleNamespace(shape=picture),
    "proprio": SimpleNamespace(shape=vector),
}
agent = dreamer.Dreamer(
    config.model, SimpleNamespace(spaces=spaces), SimpleNamespace(shape=(action,))
)

batch = TensorDict(
    {
        "image": torch.randint(0, 256, (rows, length, *picture), dtype=torch.uint8),
        "proprio": torch.randn(rows, length, *vector),
        "action": torch.rand(rows, length, action) * 2 - 1,
        "reward": torch.rand(rows, length, 1),
        "is_first": torch.zeros(rows, length, dtype=torch.bool),
        "is_last": torch.zeros(rows, length, 1, dtype=torch.bool),
        "is_terminal": torch.zeros(rows, length, 1, dtype=torch.bool),
    },
    batch_size=(rows, length),
)
initial = agent.rssm.initial(rows)


class FixedBatch:
    def sample(self) -> tuple[TensorDict, None, Any]:
        return (
            batch.copy(),
            None,
            initial,
        )  # the same tensors; the update puts others in their place

    def update(self, *_: object) -> None:
        pass


names = ("encoder", "rssm", "reward", "cont", "decoder")
protocol.serve(
    answers,
    {
        "name": "r2dreamer",
        "version": protocol.commit(folder),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for k in names for p in getattr(agent, k).parameters()),
        "precision": settings["precision"],
    },
    functools.partial(agent.update, FixedBatch()),
)
