"""The learner of torchrl's DreamerV3 example, which its wheel ships, at sizes of our choosing.

The wheel lacks the example's YAML: what it would set is set here, layers as DreamerV3 publishes them.
Both cameras are one picture of six channels, because the example takes one key of pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torchrl
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import EnvBase

EXAMPLE = Path(torchrl.__file__).parents[1] / "sota-implementations" / "dreamer_v3"
sys.path.insert(0, str(EXAMPLE))

import train as example


class Specs(EnvBase):
    """Says what is seen and done; nothing steps it."""

    def __init__(self, pixels: tuple[int, ...], vector: int, action: int, **_: Any):
        super().__init__(device="cpu", batch_size=torch.Size([]))
        self.observation_spec = Composite(
            pixels=Bounded(0, 255, tuple(pixels), dtype=torch.uint8), vector=Unbounded((vector,))
        )
        self.action_spec = Bounded(-1, 1, (action,), dtype=torch.float32)
        self.reward_spec = Unbounded((1,))

    def _reset(self, tensordict: TensorDict | None = None, **_: Any) -> TensorDict:
        return self.observation_spec.zero().update(self.full_done_spec.zero())

    def _step(self, tensordict: TensorDict) -> TensorDict:
        raise NotImplementedError

    def _set_seed(self, seed: int | None) -> None:
        pass


def configure(settings: dict[str, Any]) -> DictConfig:
    sizes, compiled = settings["sizes"], settings.get("compile", False)  # as on a GPU
    return OmegaConf.create(
        {
            "env": {
                "backend": "custom",
                "name": "specs",
                "factory": "torchrl_dreamer:Specs",
                "factory_kwargs": {
                    "pixels": [3 * settings["cameras"], 64, 64],
                    "vector": settings["proprio"],
                    "action": settings["action"],
                },
                "vector_key": "vector",
                "pixels_key": "pixels",
                "seed": 0,
                "use_seed": False,
                "max_episode_steps": 80,
            },
            "collector": {"num_envs": 1},
            "networks": {
                "hidden_dim": sizes["hidden"],
                "rnn_hidden_dim": sizes["deter"],
                "num_categoricals": sizes["stoch"],
                "num_classes": sizes["classes"],
                "image_depth": sizes["depth"],
                "image_mults": [2, 3, 4, 4],
                "image_kernel_size": 5,
                "image_decoder_blocks": 8,
                "recurrent_model": "block_gru",
                "num_blocks": 8,
                "dynamics_layers": 1,
                "prior_layers": 2,
                "posterior_layers": 1,
                "encoder_layers": 3,
                "decoder_layers": 3,
                "decoder_event_dims": None,
                "reward_layers": 1,
                "actor_layers": 3,
                "value_layers": 3,
                "num_reward_bins": 255,
                "num_value_bins": 255,
                "unimix": 0.01,
                "norm_eps": 1e-4,
                "policy_min_std": 0.1,
                "policy_max_std": 1.0,
            },
            "optimization": {
                "compile": "off",
                "compile_train_step": compiled or None,
                "compile_rssm": "scan" if compiled else None,
                "cudagraph_train_step": None,
                "compile_train_step_mode": "default",
                "rssm_scan_unroll": 8,
                "mixed_precision": False,
                "free_bits": 1.0,
                "dynamic_loss_weight": 1.0,
                "representation_loss_weight": 0.1,
                "continuation_horizon": 333,
                "imagination_horizon": 15,
                "use_reinforce": True,
                "return_normalization_rate": 0.01,
                "return_normalization_min_scale": 1.0,
                "gamma": 1 - 1 / 333,
                "lmbda": 0.95,
                "replay_value_loss_weight": 0.3,
                "slow_critic_regularization": 1.0,
                "slow_critic_tau": 0.02,
                "lr": 4e-5,
                "adaptive_grad_clip": 0.3,
                "optimizer_eps": 1e-20,
                "warmup_steps": 1000,
            },
        }
    )


def build(settings: dict[str, Any]) -> tuple[DictConfig, Any]:
    """The example's configuration and learner."""
    config = configure(settings)
    pixels = tuple(config.env.factory_kwargs.pixels)
    learner = example._build_learner(
        config, torch.device("cpu"), settings["proprio"], settings["action"], pixels
    )
    return config, learner


def random_batch(settings: dict[str, Any]) -> TensorDict:
    sizes = settings["sizes"]
    shape = rows, length = settings["batch"], settings["length"]
    no = torch.zeros(rows, length, 1, dtype=torch.bool)
    picture = (3 * settings["cameras"], 64, 64)
    return TensorDict(
        {
            "state": torch.zeros(*shape, sizes["stoch"] * sizes["classes"]),
            "belief": torch.zeros(*shape, sizes["deter"]),
            "action": torch.rand(*shape, settings["action"]) * 2 - 1,
            "is_init": no,
            "next": {
                "pixels": torch.randint(0, 256, (*shape, *picture), dtype=torch.uint8),
                "vector": torch.randn(*shape, settings["proprio"]),
                "reward": torch.rand(*shape, 1),
                "done": no,
                "terminated": no,
                "truncated": no,
            },
        },
        shape,
    )
