"""Settings that must stand before torch and mujoco are imported."""

from __future__ import annotations

import os
from pathlib import Path

from robowm import cli

cli.choose_renderer()
os.environ["WANDB_MODE"] = "offline"  # no test reaches a cloud
os.environ["WANDB_SILENT"] = "true"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Results are compared to the bit, and several tests share the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the debug model before its first update."""
    import dataclasses

    from omegaconf import OmegaConf

    import robowm_envs
    import train
    from robowm import config
    from robowm.learning import checkpoint
    from robowm.learning.build import build
    from robowm.spec import TaskSpec

    out = tmp_path_factory.mktemp("run")
    settings = OmegaConf.to_object(
        config.compose("train", train.Train, ["+preset=debug", "data=none", f"out={out}"])
    )
    env = robowm_envs.make(**settings.task.arguments())
    spec = TaskSpec.from_env(env)
    env.close()
    model, behaviours = build(settings.model, settings.behaviour, spec)
    weights = checkpoint.collect_weights(model, behaviours)
    checkpoint.save(
        out, 1, weights=weights, optimizer={}, state={}, config=dataclasses.asdict(settings), spec=spec, keep=1
    )  # fmt: skip
    return out
