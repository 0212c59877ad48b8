"""One plan of torchrl's MPPIPlanner in the imagination of its own DreamerV3.

Imagined steps are those of the example: block GRU, prior, reward. The advantage is TD(lambda) with the
example's critic, as the planner's documentation has it; it is asked at every imagined state.
"""

from __future__ import annotations

import protocol

answers, settings = protocol.quiet(), protocol.settings()

import torch

torch.set_num_threads(settings["threads"])
torch.manual_seed(0)

import torchrl
import torchrl_dreamer
from tensordict import TensorDict
from torchrl.modules import MPPIPlanner
from torchrl.objectives.value import TDLambdaEstimator

config, learner = torchrl_dreamer.build(settings)
options, sizes = config.optimization, settings["sizes"]
env = learner.actor_loss.model_based_env
advantage = TDLambdaEstimator(
    gamma=options.gamma, lmbda=options.lmbda, value_network=learner.actor_loss.value_model
)
planner = MPPIPlanner(
    env,
    advantage,
    temperature=0.5,
    planning_horizon=settings["horizon"],
    optim_steps=settings["iterations"],
    num_candidates=settings["samples"],
    top_k=settings["elites"],
)
state = TensorDict(
    {
        "state": torch.zeros(1, sizes["stoch"] * sizes["classes"]),
        "belief": torch.zeros(1, sizes["deter"]),
    },
    [1],
)


@torch.no_grad()
def plan() -> None:
    planner(state.copy())


protocol.serve(
    answers,
    {
        "name": "torchrl",
        "version": torchrl.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in learner.world_model.parameters()),
        "precision": "fp32",
    },
    plan,
)
