"""One planned action of TD-MPC2: ``TDMPC2.act`` of a clone of nicklashansen/tdmpc2, in eval mode.

The configuration is the clone's own (the model of 5M parameters, MPPI as published), but for compile,
which is off, and for the observation, which is a vector. The encoder runs once a plan, so that
pictures would change little.

The clone asks for the device cuda:0 in so many words; here these words mean the CPU. Nothing in its
folder is changed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import protocol

answers, settings = protocol.quiet(), protocol.settings()
folder = Path(settings["folder"])
sys.path.insert(0, str(folder / "tdmpc2"))

import torch

torch.set_num_threads(settings["threads"])
torch.manual_seed(0)

import common.scale
import tdmpc2
from common import MODEL_SIZE
from common.parser import cfg_to_dataclass
from omegaconf import OmegaConf


class OnCPU:
    """torch, in which every device is the CPU."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def device(self, _: str) -> torch.device:
        return torch.device("cpu")


common.scale.torch = tdmpc2.torch = OnCPU()
# It is there already; and a newer tensordict than the clone's own does not move a critic's empty form.
tdmpc2.WorldModel.to = lambda self, _: self

config = OmegaConf.load(folder / "tdmpc2" / "config.yaml")
config.pop("defaults")  # of Hydra's launcher
config.update(MODEL_SIZE[5])
config.update(
    {
        "multitask": False,
        "task_dim": 0,
        "tasks": [config.task],
        "obs_shape": {"state": [settings["proprio"]]},
        "action_dim": settings["action"],
        "episode_length": settings["episode"],
        "bin_size": (config.vmax - config.vmin) / (config.num_bins - 1),
        "compile": False,
        "num_samples": settings["samples"],
        "iterations": settings["iterations"],
        "horizon": settings["horizon"],
        "num_elites": settings["elites"],
    }
)
agent = tdmpc2.TDMPC2(cfg_to_dataclass(config))
observation = torch.randn(settings["proprio"])


def plan() -> None:
    agent.act(observation, t0=False, eval_mode=True)


protocol.serve(
    answers,
    {
        "name": "TD-MPC2",
        "version": protocol.commit(folder),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": agent.model.total_params,
        "precision": "fp32",
    },
    plan,
)
