"""The smallest world model, behaviour and replay that a trainer can drive.

Run as a script it trains them into a folder, so that a test can kill it:
``python toy.py OUT UPDATES [seconds that an update takes longer]``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from robowm.learning.parallel import Group
from robowm.learning.trainer import Trainer, TrainerConfig
from robowm.spec import ActionSpec, ArraySpec, TaskSpec
from robowm.tracking import TrackingConfig, make_logger
from robowm.tracking.protocol import Loggers

SPEC = TaskSpec(
    task="toy",
    observation={"x": ArraySpec((3,), "float32", (-1.0,) * 3, (1.0,) * 3)},
    action=ActionSpec(("dx_m", "gripper"), (0.05, 1.0), (False, True)),
    privileged={},
    yaw_order=1,
    control_dt_s=0.1,
    time_limit_steps=20,
)


class ToyModel(nn.Module):
    """Predicts the next observation through noise, so that its curve depends on the random stream."""

    feat_size = 8

    def __init__(self, slowness_s: float = 0.0):
        super().__init__()
        self.slowness_s = slowness_s
        self.net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.1))
        self.head = nn.Linear(8, 3)

    def feat(self, state):
        return state["h"]

    def loss(self, batch):
        time.sleep(self.slowness_s)
        h = self.net(torch.cat([batch["x"], batch["action"]], -1))
        error = self.head(h + 0.1 * torch.randn_like(h))[:, :-1] - batch["x"][:, 1:]
        loss = error.square().mean()
        return loss, {"prediction": loss.detach()}, {"h": h}


class ToyBehaviour(nn.Module):
    """Clones actions, and counts the updates as a target network would."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 2)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def loss(self, model, batch, states):
        loss = (self.head(model.feat(states)) - batch["action"]).square().mean()
        return loss, {"loss": loss.detach()}

    def after_update(self):
        self.updates += 1


class ToyEpisode:
    def __init__(self, seed: int, length: int = 20):
        random = np.random.default_rng(seed)
        self.x = random.normal(size=(length, 3)).astype(np.float32).cumsum(0) * 0.1
        self.action = random.uniform(-1, 1, (length, 2)).astype(np.float32)

    def __len__(self):
        return len(self.x)


class ToyReplay:
    def __init__(self, episodes: int = 8, batch_size: int = 4, length: int = 6, seed: int = 0):
        self.episodes = [ToyEpisode(i) for i in range(episodes)]
        self.batch_size, self.length = batch_size, length
        self.random = np.random.default_rng(seed)

    def sample(self):
        chosen = self.random.integers(len(self.episodes), size=self.batch_size)
        starts = self.random.integers(20 - self.length, size=self.batch_size)
        rows = [
            (self.episodes[e], slice(s, s + self.length))
            for e, s in zip(chosen, starts, strict=True)
        ]
        return {
            "x": np.stack([episode.x[window] for episode, window in rows]),
            "action": np.stack([episode.action[window] for episode, window in rows]),
        }

    def add(self, episode):
        self.episodes.append(episode)

    def state_dict(self):
        return {
            "random": self.random.bit_generator.state,
            "x": np.stack([episode.x for episode in self.episodes]),
            "action": np.stack([episode.action for episode in self.episodes]),
        }

    def load_state_dict(self, state):
        self.random.bit_generator.state = state["random"]
        self.episodes = [ToyEpisode(0) for _ in state["x"]]
        for episode, x, action in zip(self.episodes, state["x"], state["action"], strict=True):
            episode.x, episode.action = x, action


class ToyCollector:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return [ToyEpisode(1000 + self.calls)]

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


def make_trainer(
    out: Path,
    *,
    slowness_s: float = 0.0,
    model: nn.Module | None = None,
    replay: ToyReplay | None = None,
    resolved_config: dict | None = None,
    evaluate=None,
    collector=None,
    tracking: TrackingConfig | None = None,
    group: Group | None = None,
    **learning,
) -> Trainer:
    """A trainer of the toys; ``learning`` overrides a configuration that logs each update."""
    settings = {
        "updates": 12,
        "warmup": 3,
        "log_every": 2,
        "checkpoint_every": 5,
        "learning_rate": 1e-2,
        "precision": "fp32",
        **learning,
    }
    torch.manual_seed(settings.get("seed", 0))
    config = {"model": {"kind": "toy"}, "learning": settings} | (resolved_config or {})
    return Trainer(
        TrainerConfig(**settings),
        model or ToyModel(slowness_s),
        {"cloning": ToyBehaviour()},
        replay or ToyReplay(),
        Loggers({})
        if group and not group.is_first
        else make_logger(tracking or TrackingConfig(), out, config),
        out,
        SPEC,
        config,
        evaluate=evaluate,
        collector=collector,
        group=group,
    )


if __name__ == "__main__":
    result = make_trainer(
        Path(sys.argv[1]),
        updates=int(sys.argv[2]),
        slowness_s=float(sys.argv[3]) if len(sys.argv) > 3 else 0.0,
        log_every=1,
    ).run()
    sys.exit(128 + result.signal if result.signal else 0)
