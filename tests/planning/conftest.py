"""A point mass whose optimum is known in closed form, as a world model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robowm.models.protocol import Prediction
from robowm.spec import ActionSpec, ArraySpec, TaskSpec

DT, CONTROL_COST, SWITCH_COST = 0.5, 0.1, 0.05


def vector(size):
    return ArraySpec((size,), "float32", (-5.0,) * size, (5.0,) * size)


SPEC = TaskSpec(
    task="point",
    observation={"proprio": vector(4), "goal": vector(1)},
    action=ActionSpec(("dx_m", "dy_m", "gripper"), (1.0, 1.0, 1.0), (False, False, True)),
    privileged={},
    yaw_order=1,
    control_dt_s=0.1,
    time_limit_steps=20,
)


class PointMass:
    """Position and velocity [B, 2] each, pushed by two actions; a switch that should equal ``goal``.

    The reward is minus a quadratic cost of the next state and of the push, and minus
    ``SWITCH_COST`` where the switch is wrong: the optimum is the linear quadratic regulator's.
    """

    feat_size = 6
    half = torch.eye(2)
    a = torch.cat([torch.cat([half, DT * half], 1), torch.cat([0 * half, half], 1)])  # [4, 4]
    b = torch.cat([0.5 * DT**2 * half, DT * half])  # [4, 2]
    q = torch.diag(torch.tensor([1.0, 1.0, 0.1, 0.1]))
    r = CONTROL_COST * torch.eye(2)

    def initial(self, batch_size):
        return {"x": torch.zeros(batch_size, 4), "goal": torch.zeros(batch_size, 1)}

    def observe(self, state, prev_action, obs, is_first):
        return {"x": obs["proprio"].clone(), "goal": obs["goal"].clone()}

    def step(self, state, action, sample=False):
        push, switch = action[:, :2], action[:, 2]
        x = state["x"] @ self.a.T + push @ self.b.T
        cost = ((x @ self.q) * x).sum(1) + ((push @ self.r) * push).sum(1)
        cost = cost + SWITCH_COST * (switch != state["goal"][:, 0])
        return {"x": x, "goal": state["goal"], "cost": cost[:, None]}  # of arriving here

    def feat(self, state):
        cost = state.get("cost", torch.zeros_like(state["goal"]))
        return torch.cat([state["x"], state["goal"], cost], -1)

    def predict(self, feat):
        return Prediction(-feat[..., 5], torch.ones_like(feat[..., 5]))

    def riccati(self, horizon):
        """Cost-to-go matrices [horizon + 1] and gains: ``push_t = -gains[t] @ x_t``."""
        to_go, gains = [torch.zeros(4, 4)], []
        for _ in range(horizon):
            p = self.q + to_go[0]  # the cost is of the state arrived in
            gain = torch.linalg.solve(self.r + self.b.T @ p @ self.b, self.b.T @ p @ self.a)
            closed = self.a - self.b @ gain
            to_go.insert(0, closed.T @ p @ closed + gain.T @ self.r @ gain)
            gains.insert(0, gain)
        return to_go, gains


class Fixed:
    """A distribution with independent normals and a switch; draws from torch's global generator."""

    def __init__(self, mean, std=0.2):
        self.mean, self.std = mean, std

    def mode(self):
        return torch.cat([self.mean[..., :2], self.mean[..., 2:].sign()], -1)

    def sample(self):
        push = self.mean[..., :2] + self.std * torch.randn_like(self.mean[..., :2])
        return torch.cat([push, self.mean[..., 2:].sign()], -1)

    def log_prob(self, action):
        return -0.5 * ((action - self.mode()) / self.std).square().sum(-1)


def fair_policy(feat):
    """Pushes towards the origin, not well; switches rightly."""
    push = (-0.3 * feat[..., :2] - 0.5 * feat[..., 2:4]).clamp(-1, 1)
    return Fixed(torch.cat([push, feat[..., 4:5]], -1))


def bad_policy(feat):
    """Pushes away and switches wrongly."""
    return Fixed(torch.cat([feat[..., :2].clamp(-1, 1), -feat[..., 4:5]], -1))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def spec():
    return SPEC


@pytest.fixture
def model():
    return PointMass()


@pytest.fixture
def state():
    """16 beliefs near enough to the origin for the regulator never to saturate."""
    generator = torch.Generator().manual_seed(7)
    x = torch.rand(16, 4, generator=generator) - 0.5
    goal = torch.where(torch.rand(16, 1, generator=generator) < 0.5, 1.0, -1.0)
    return {"x": x * torch.tensor([1.0, 1.0, 0.4, 0.4]), "goal": goal}


@pytest.fixture
def policies():
    return {"fair": fair_policy, "bad": bad_policy}


@pytest.fixture
def observation():
    return {"proprio": np.array([0.4, -0.3, 0, 0], np.float32), "goal": np.ones(1, np.float32)}
