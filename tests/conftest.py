"""Settings that must stand before torch and mujoco are imported."""

from __future__ import annotations

import os

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
