"""One plan of robowm's MPPI with a shipped checkpoint, warm-started by the plan before it.

Policies, policy prior and critics are those of the checkpoint, as a user gets them; with ``proposals``
none the search is alone with the model and the critics.
"""

from __future__ import annotations

import protocol

answers, settings = protocol.quiet(), protocol.settings()

import torch

torch.set_num_threads(settings["threads"])
torch.manual_seed(0)

import robowm
from robowm import agents
from robowm.planning.mppi import MPPIConfig
from robowm.planning.protocol import Plan

trained = agents.load(settings["checkpoint"], device="cpu")
config = MPPIConfig(
    samples=settings["samples"],
    iterations=settings["iterations"],
    horizon=settings["horizon"],
    elites=settings["elites"],
    precision=settings["precision"],
)
planner = trained.planner(config, settings["proposals"]).actor
belief = {k: v.float() for k, v in trained.model.initial(1).items()}
plans: list[Plan | None] = [None]


def plan() -> None:
    plans[0] = planner.plan(belief, plans[0])


protocol.serve(
    answers,
    {
        "name": "robowm" if settings["proposals"] == "all" else "robowm, no policies",
        "version": robowm.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "precision": settings["precision"],
    },
    plan,
)
