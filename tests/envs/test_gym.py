"""Gymnasium's own checker, and what it does not look at."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import robowm_envs
import robowm_envs.gym
from robowm_envs.gym import GymEnv, gym_id

TASKS = tuple(robowm_envs.TASKS)


def test_ids():
    ids = {gym_id(task) for task in TASKS}
    assert ids <= set(gymnasium.registry)
    assert {"robowm/Reach-v0", "robowm/GraspRotatePlace-v0"} <= ids
    robowm_envs.gym.register()  # a second time does no harm


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("observation", ["pixels", "state"])
def test_gymnasium_checker_is_content(task, observation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(
            gym_id(task),
            observation=observation,
            image_size=16,
            render_mode="rgb_array",
            render_size=(24, 32),
        )
        check_env(env.unwrapped)
        env.close()


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_fixes_the_whole_run(task):
    runs = []
    for _ in range(2):
        env = gymnasium.make(gym_id(task), observation="state")
        rng = np.random.default_rng(0)
        seen = [env.reset(seed=4)[0]]
        for _ in range(3):
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
            seen.append(env.step(action)[0])
        seen += [env.reset()[0], env.reset()[0]]  # episodes that no seed named
        runs.append(seen)
        env.close()
    for a, b in zip(*runs, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    starts = [runs[0][i]["proprio"] for i in (0, -2, -1)]
    assert not any(np.array_equal(starts[i], starts[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_the_seed_is_the_number_of_the_episode():
    env = GymEnv("grasp", observation="state")
    native = robowm_envs.make("grasp", observation="state")
    observation, _ = env.reset(seed=11)
    for name, array in native.reset(seed=11).observation.items():
        np.testing.assert_array_equal(observation[name], array)


def test_observations_have_the_form_that_stable_baselines_takes():
    env = GymEnv("grasp_rotate_place")
    assert isinstance(env.observation_space, gymnasium.spaces.Dict)
    for name, box in env.observation_space.items():
        assert isinstance(box, gymnasium.spaces.Box)
        if name.startswith("image"):
            assert box.dtype == np.uint8 and box.shape == (64, 64, 3)
            assert (box.low == 0).all() and (box.high == 255).all()
        else:
            assert box.dtype == np.float32 and len(box.shape) == 1 and box.is_bounded()
    assert env.action_space.dtype == np.float32
    assert (env.action_space.low == -1).all() and (env.action_space.high == 1).all()
    env.close()


def test_time_limit_truncates_and_info_tells():
    env = GymEnv("reach", observation="state")
    env.reset(seed=0)
    for count in range(1, env.env.time_limit_steps + 1):
        _, reward, terminated, truncated, info = env.step(np.zeros(5, np.float32))
        assert not terminated and truncated == (count == env.env.time_limit_steps)
    assert 0 <= reward <= 1
    assert info["is_success"] is False and info["success"] == 0.0
    assert info["position_error_m"] == env.env.metrics()["position_error_m"] > 0


def test_losing_the_object_terminates():
    """The object is put beside the table by hand: what falls is lost."""
    env = GymEnv("grasp", observation="state")
    env.reset(seed=0)
    env.env.physics.place_object(np.array([1.2, 0.0, 0.1]), 0.0)
    env.env.physics.forward()
    _, _, terminated, truncated, _ = env.step(np.zeros(5, np.float32))
    assert terminated and not truncated


def test_render():
    env = GymEnv("reach", observation="state", render_mode="rgb_array", render_size=(40, 56))
    env.reset(seed=0)
    image = env.render()
    assert image.shape == (40, 56, 3) and image.dtype == np.uint8 and image.std() > 5
    env.close()
    assert GymEnv("reach", observation="state").render() is None
