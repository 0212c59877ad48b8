"""One plan of robowm's MPPI with a shipped checkpoint, warm-started by the plan before it.

Policies, policy prior and critics are those of the checkpoint, as a user gets them; with ``search``
alone the search is without policies; plain is that over an RSSM of the same sizes without slot and
relations and with one critic, untrained: what others' planners search in.
"""

from __future__ import annotations

import protocol

answers, settings = protocol.quiet(), protocol.settings()

import torch

torch.set_num_threads(settings["threads"])
torch.manual_seed(0)

import robowm
from robowm import agents
from robowm.behaviour.actor_critic import ActorCriticConfig
from robowm.learning.build import build
from robowm.models.rssm import RSSMConfig
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
if settings["search"] == "plain":
    sizes = RSSMConfig(**settings["sizes"], pose_slot=False, privileged=False, relations=False)
    model, behaviours = build(sizes, ActorCriticConfig(critics=1), trained.spec)
    for module in (model, *behaviours.values()):
        module.eval().requires_grad_(False)
    planner = agents.make_planner(config, model, [], behaviours["actor_critic"], trained.spec)
else:
    model = trained.model
    planner = trained.planner(config, "all" if settings["search"] == "all" else "none").actor
belief = {k: v.float() for k, v in model.initial(1).items()}
plans: list[Plan | None] = [None]
NAMES = {
    "all": "robowm",
    "alone": "robowm, no policies",
    "plain": "robowm, no policies, plain RSSM",
}


def plan() -> None:
    plans[0] = planner.plan(belief, plans[0])


protocol.serve(
    answers,
    {
        "name": NAMES[settings["search"]],
        "version": robowm.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "precision": settings["precision"],
    },
    plan,
)
