"""One update of torchrl's DreamerV3 on a fixed random batch, eager as its example is on a CPU; with
``compile`` as it is on a GPU, without the graph.

``parts`` is ``model`` (:class:`DreamerV3ModelLoss`, backward, clipping and optimiser step over the
world model's parameters), or ``all``: the example's whole step, actor and critic included.
"""

from __future__ import annotations

import protocol

answers, settings = protocol.quiet(), protocol.settings()

import torch

torch.set_num_threads(settings["threads"])
torch.manual_seed(0)

import torchrl
import torchrl_dreamer
from torchrl.trainers.algorithms.dreamer_v3 import DreamerV3Optimizer

config, learner = torchrl_dreamer.build(settings)
batch = torchrl_dreamer.random_batch(settings)
options = config.optimization

if settings["parts"] == "all":
    stepper = torchrl_dreamer.example._make_learner_update(config, torch.device("cpu"), learner)
    if settings.get("compile"):
        stepper.warmup(batch.copy())

    def update() -> None:
        stepper.step(None, batch.copy())
else:
    optimizer = DreamerV3Optimizer(
        list(learner.world_model.parameters()),
        lr=options.lr,
        agc=options.adaptive_grad_clip,
        eps=options.optimizer_eps,
        warmup_steps=options.warmup_steps,
    )

    def update() -> None:
        losses, _ = learner.model_loss(batch)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


protocol.serve(
    answers,
    {
        "name": "torchrl" + ", compiled" * settings.get("compile", False),
        "version": torchrl.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in learner.world_model.parameters()),
        "precision": "fp32",
    },
    update,
)
