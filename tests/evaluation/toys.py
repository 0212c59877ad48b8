"""A point that moves as told, its exact model, and agents for it: everything has a known answer."""

from __future__ import annotations

from types import SimpleNamespace

import dm_env
import numpy as np
import torch
from dm_env import specs

from robowm.models.protocol import Prediction
from robowm.spec import TaskSpec

STEP_M = 0.02


class PointEnv:
    """A point on a line of the table; success is to stand within 2 cm of 0.2 m at the end."""

    name, yaw_order, control_dt_s, time_limit_steps = "point", 2, 0.1, 12
    goal_m = 0.2

    def __init__(self):
        self.action_scale = np.array([STEP_M, STEP_M, 1.0])
        self.closed = False

    def observation_spec(self):
        return {
            "image_front": specs.BoundedArray((16, 16, 3), np.uint8, 0, 255),
            "proprio": specs.BoundedArray((2,), np.float32, -1, 1),
        }

    def action_spec(self):
        return specs.BoundedArray((3,), np.float32, -1, 1, name="dx_m\tdy_m\tgripper")

    def privileged_spec(self):
        return {
            "object_position": specs.BoundedArray((3,), np.float32, -1, 1),
            "object_yaw": specs.BoundedArray((2,), np.float32, -1, 1),
        }

    def reset(self, seed=None):
        self.position = np.random.default_rng(seed).uniform([-0.05, -0.3], [0.05, 0.3])
        self.steps = 0
        return dm_env.restart(self._observation())

    def step(self, action):
        self.position = self.position + STEP_M * np.asarray(action[:2], np.float64)
        self.steps += 1
        reward = float(np.exp(-abs(self.position[0] - self.goal_m) / 0.1))
        if self.steps == self.time_limit_steps:
            return dm_env.truncation(reward, self._observation())
        return dm_env.transition(reward, self._observation())

    def metrics(self):
        error = abs(self.position[0] - self.goal_m)
        return {"success": float(error < 0.02), "position_error_m": error, "lifted": 1.0}

    def privileged(self):
        angle = 2 * self.position[1]
        return {
            "object_position": np.array([*self.position, 0.0], np.float32),
            "object_yaw": np.array([np.sin(angle), np.cos(angle)], np.float32),
        }

    def get_state(self):
        return np.array([*self.position, self.steps])

    def set_state(self, state):
        self.position, self.steps = state[:2].copy(), int(state[2])

    def render(self, camera="front", size=(16, 16)):
        picture = np.full((*size, 3), (40, 44, 52), np.uint8)
        place = (self.position[::-1] + 0.5) * np.array(size)
        row, column = place.clip(0, size[0] - 1).astype(int)
        picture[row - 1 : row + 2, column - 1 : column + 2] = (235, 160, 60)
        return picture

    def close(self):
        self.closed = True

    def _observation(self):
        return {
            "image_front": self.render(),
            "proprio": self.position.astype(np.float32),
        }


class Steady:
    """Always the same action; notes how it was called."""

    def __init__(self, action):
        self.action, self.resets, self.seeds = np.asarray(action, np.float32), 0, []

    def seed(self, seed):
        self.seeds.append(seed)

    def reset(self):
        self.resets += 1

    def act(self, observation):
        return self.action


class PointModel:
    """The exact model of :class:`PointEnv`, but that each imagined step drifts by ``drift_m``."""

    feat_size = 2

    def __init__(self, drift_m=0.0):
        self.drift_m = drift_m

    def initial(self, batch_size):
        return {"position": torch.zeros(batch_size, 2)}

    def observe(self, state, prev_action, obs, is_first):
        return {"position": obs["proprio"].float()}

    def step(self, state, action, sample=False):
        position = state["position"] + STEP_M * action[:, :2] + torch.tensor([self.drift_m, 0.0])
        return {"position": position}

    def feat(self, state):
        return state["position"]

    def predict(self, feat):
        reward = torch.exp(-(feat[..., 0] - PointEnv.goal_m).abs() / 0.1)
        return Prediction(reward, torch.ones_like(reward))

    def loss(self, batch):
        raise NotImplementedError

    def pose(self, state):
        x, y = state["position"].unbind(-1)
        return {
            "object_position": torch.stack([x, y, torch.zeros_like(x)], -1),
            "object_yaw": torch.stack([torch.sin(2 * y), torch.cos(2 * y)], -1),
        }

    def decode(self, state):
        pictures = []
        for position in state["position"]:
            env = PointEnv()
            env.position = position.numpy().astype(np.float64)
            pictures.append(env.render())
        return {"image_front": torch.as_tensor(np.stack(pictures)).float()}


class Reversed(PointModel):
    """Believes that what is good is bad."""

    def predict(self, feat):
        reward, cont = super().predict(feat)
        return Prediction(-reward, cont)


def spec():
    return TaskSpec.from_env(PointEnv())


def episode(seed, action=(0.5, 0.25, 1.0), steps=12):
    """An episode of one steady action [3], or of several [steps, 3].

    It has the fields that evaluation reads of a recorded one.
    """
    actions = np.broadcast_to(np.asarray(action, np.float32), (steps, 3)).copy()
    env = PointEnv()
    rows = [env.reset(seed=seed).observation]
    privileged, states, rewards = [env.privileged()], [env.get_state()], []
    for taken in actions:
        step = env.step(taken)
        rows.append(step.observation)
        rewards.append(step.reward)
        privileged.append(env.privileged())
        states.append(env.get_state())

    class Recorded(SimpleNamespace):
        def __len__(self):
            return len(self.actions)

    return Recorded(
        observations={k: np.stack([row[k] for row in rows]) for k in rows[0]},
        privileged={k: np.stack([row[k] for row in privileged]) for k in privileged[0]},
        actions=actions,
        expert_actions=actions,
        rewards=np.array(rewards, np.float32),
        states=np.stack(states),
        info={"seed": seed},
    )


def make_env():
    return PointEnv()


def make_steady(env, action=(1.0, 0.0, 1.0)):
    return Steady(action)


def make_broken(env):
    from robowm.errors import UserError

    raise UserError("the checkpoint is damaged.")
