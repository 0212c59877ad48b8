"""A point to be driven to a goal: an environment and an expert that need no simulator."""

import json

import dm_env
import numpy as np
from dm_env import specs

from robowm.data.episode import Episode
from robowm.data.store import EpisodeWriter
from robowm.spec import TaskSpec


class PointEnv(dm_env.Environment):
    """Success is to be within 0.1 of the goal with the gripper open; leaving [-1, 1] ends the world."""

    name, split, yaw_order, control_dt_s, time_limit_steps = "point", "train", 1, 0.1, 30
    action_scale = np.array([0.2, 0.2, 1.0])

    def __init__(self, split="train", fails_at=None):
        self.split, self._fails_at = split, fails_at

    def observation_spec(self):
        return {
            "image_front": specs.BoundedArray((8, 8, 3), np.uint8, 0, 255),
            "proprio": specs.BoundedArray((2,), np.float32, -2.0, 2.0),
            "goal": specs.BoundedArray((2,), np.float32, -1.0, 1.0),
        }

    def action_spec(self):
        return specs.BoundedArray((3,), np.float32, -1.0, 1.0, name="dx_m\tdy_m\tgripper")

    def privileged_spec(self):
        return {"object_position": specs.BoundedArray((3,), np.float32, -2.0, 2.0)}

    def privileged(self):
        return {"object_position": np.append(self.goal, 0).astype(np.float32)}

    def metrics(self):
        near = np.linalg.norm(self.goal - self.position) < 0.1
        return {"success": float(near and not self.closed)}

    def get_state(self):
        return np.array([*self.position, *self.goal, self.closed, self.steps], np.float64)

    def reset(self, seed=None):
        if seed == self._fails_at and seed is not None:
            raise RuntimeError(f"no scene for seed {seed}")
        rng = np.random.default_rng(seed)
        self.position, self.goal = rng.uniform(-0.6, 0.6, (2, 2))
        self.closed, self.steps = False, 0
        return dm_env.restart(self._observe())

    def step(self, action):
        self.steps += 1
        self.position = self.position + self.action_scale[:2] * action[:2]
        self.closed = bool(action[2] > 0)
        reward = float(np.exp(-np.linalg.norm(self.goal - self.position)))
        if np.abs(self.position).max() > 1:
            return dm_env.termination(reward, self._observe())
        if self.steps == self.time_limit_steps:
            return dm_env.truncation(reward, self._observe())
        return dm_env.transition(reward, self._observe())

    def _observe(self):
        image = np.full((8, 8, 3), 10 * self.steps % 256, np.uint8)
        image[..., 1] = np.clip(127 + 60 * self.position[0], 0, 255)
        return {
            "image_front": image,
            "proprio": self.position.astype(np.float32),
            "goal": self.goal.astype(np.float32),
        }


class PointExpert:
    def __init__(self, env):
        self._env = env

    def reset(self): ...

    def act(self, observation=None):
        way = (self._env.goal - self._env.position) / self._env.action_scale[:2]
        return np.append(np.clip(way, -0.5, 0.5), -1.0).astype(np.float32)


def point_spec() -> TaskSpec:
    return TaskSpec.from_env(PointEnv())


def random_episode(
    seed: int, steps: int | None = None, terminal: bool | None = None, spec: TaskSpec | None = None
) -> Episode:
    """Arrays of the right shapes with random content; the seed decides what is not given."""
    spec = spec or point_spec()
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 12)) if steps is None else steps

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return Episode(
        observations={
            name: rng.integers(0, 256, (steps + 1, *s.shape), dtype=np.uint8)
            if s.is_image
            else normal(steps + 1, *s.shape)
            for name, s in spec.observation.items()
        },
        actions=normal(steps, spec.action.size),
        expert_actions=normal(steps, spec.action.size),
        rewards=rng.random(steps).astype(np.float32),
        terminal=bool(rng.random() < 0.5) if terminal is None else terminal,
        success=rng.integers(0, 2, steps + 1).astype(np.float32),
        privileged={k: normal(steps + 1, *s.shape) for k, s in spec.privileged.items()},
        states=rng.normal(size=(steps + 1, 4)),
        info={"seed": seed, "split": "train", "task": spec.task},
    )


def write(path, episodes, spec=None, **options):
    with EpisodeWriter(path, spec or point_spec(), **options) as writer:
        for episode in episodes:
            writer.add(episode)
    return path


def assert_equal(a: Episode, b: Episode) -> None:
    for name in ("observations", "privileged"):
        assert getattr(a, name).keys() == getattr(b, name).keys()
        for key, array in getattr(a, name).items():
            np.testing.assert_array_equal(array, getattr(b, name)[key], strict=True)
    for name in ("actions", "expert_actions", "rewards", "success", "states"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), strict=True)
    assert a.terminal == b.terminal
    assert json.dumps(a.info, sort_keys=True) == json.dumps(b.info, sort_keys=True)
