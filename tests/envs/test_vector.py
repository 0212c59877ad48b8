"""Many environments give what one gives, to the bit."""

from __future__ import annotations

from contextlib import closing

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import robowm_envs
from robowm_envs.errors import EnvError
from robowm_envs.gym import GymEnv, gym_id
from robowm_envs.vector import BatchedEnv, ProcessVectorEnv

ALL_GROUPS = ("pose", "friction", "mass", "size", "colour", "light", "camera")


def play(env, steps, seed, after=None):
    """Everything that ``steps`` random actions return; ``after`` is called before each."""
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=seed)
    seen = [(observation, info)]
    for t in range(steps):
        if after is not None:
            after(t)
        actions = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        actions[:, 2] = -np.abs(actions[:, 2])  # down, to where there is something to touch
        seen.append(env.step(actions))
    return seen


def assert_same(a, b, where=""):
    """Nested tuples, lists and dicts of arrays, equal to the bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{i}")
    else:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=where)
        assert np.asarray(a).dtype == np.asarray(b).dtype, where


def loop(task, n, **options):
    return SyncVectorEnv([lambda: GymEnv(task, **options)] * n)


@pytest.mark.parametrize("task", list(robowm_envs.TASKS))
def test_batched_is_a_loop_to_the_bit(task):
    options = {"observation": "state", "randomise": ALL_GROUPS}
    batched = BatchedEnv(task, 3, threads=2, **options)
    assert_same(play(batched, 12, seed=5), play(loop(task, 3, **options), 12, seed=5))


def test_batched_pictures_are_a_loops():
    options = {"image_size": 32, "randomise": ALL_GROUPS, "split": "shift_all"}
    batched, single = BatchedEnv("grasp", 3, **options), loop("grasp", 3, **options)
    assert_same(play(batched, 3, seed=1), play(single, 3, seed=1))
    batched.close(), single.close()


def test_ended_episodes_restart_on_the_next_step():
    """Environments at different ages end at different steps; the limit of reach is short."""
    options = {"observation": "state", "randomise": ALL_GROUPS}
    batched, single = BatchedEnv("reach", 3, **options), loop("reach", 3, **options)
    assert batched.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP

    def age(envs):
        # Environment i is put 2 i + 1 steps before its end.
        def after(t):
            if t == 0:
                for i, env in enumerate(envs):
                    env._steps = env.time_limit_steps - 2 * i - 1

        return after

    a = play(batched, 9, seed=2, after=age(batched.envs))
    b = play(single, 9, seed=2, after=age([e.env for e in single.envs]))
    assert_same(a, b)
    truncated = np.array([step[3] for step in a[1:]])
    np.testing.assert_array_equal(np.argwhere(truncated), [[0, 0], [2, 1], [4, 2]])
    restarted = a[2]
    assert restarted[1][0] == 0.0 and restarted[1][1] > 0
    first, second, third = a[0][0]["goal"][0], a[2][0]["goal"][0], a[4][0]["goal"][1]
    assert not np.array_equal(first, second) and not np.array_equal(second, third)


def test_a_falling_object_ends_one_and_not_the_others():
    batched = BatchedEnv("grasp", 2, observation="state")
    batched.reset(seed=0)
    physics = batched.envs[1].physics
    physics.place_object(np.array([1.2, 0.0, 0.1]), 0.0)
    physics.forward()
    _, _, terminated, truncated, _ = batched.step(np.zeros((2, 5), np.float32))
    assert terminated.tolist() == [False, True] and not truncated.any()


def test_seeds_by_environment():
    batched = BatchedEnv("grasp", 3, observation="state")
    listed, _ = batched.reset(seed=[7, 8, 7])
    counted, _ = batched.reset(seed=7)
    for name in listed:
        np.testing.assert_array_equal(listed[name][:2], counted[name][:2])
        np.testing.assert_array_equal(listed[name][0], listed[name][2])
    assert not np.array_equal(counted["proprio"][0], counted["proprio"][1])
    follow, _ = batched.reset()
    assert not np.array_equal(follow["proprio"][0], follow["proprio"][1])


def test_arrays_are_the_callers_own():
    batched = BatchedEnv("reach", 2, observation="state")
    first, _ = batched.reset(seed=0)
    copies = {name: array.copy() for name, array in first.items()}
    batched.step(np.ones((2, 5), np.float32))
    assert_same(first, copies)


@pytest.mark.parametrize(
    "actions",
    [np.zeros((3, 5)), np.zeros((2, 4)), np.full((2, 5), np.nan), np.full((2, 5), 1.5)],
)
def test_bad_actions_move_nothing(actions):
    batched = BatchedEnv("reach", 2, observation="state")
    batched.reset(seed=0)
    before = [env.get_state() for env in batched.envs]
    with pytest.raises(EnvError):
        batched.step(actions)
    assert_same([env.get_state() for env in batched.envs], before)


def test_misuse_is_one_sentence():
    with pytest.raises(EnvError, match="ProcessVectorEnv"):
        BatchedEnv("dm_control/reacher_easy", 2)
    with pytest.raises(EnvError, match="1 or more"):
        BatchedEnv("reach", 0)
    with pytest.raises(EnvError, match="1 or more"):
        ProcessVectorEnv("reach", 0)
    batched = BatchedEnv("reach", 2, observation="state")
    with pytest.raises(EnvError, match="reset"):
        batched.step(np.zeros((2, 5)))
    with pytest.raises(EnvError, match="3 seeds"):
        batched.reset(seed=[1, 2, 3])


def test_gymnasium_makes_it():
    with closing(
        gymnasium.make_vec(gym_id("reach"), 2, observation="state", render_mode="rgb_array")
    ) as env:
        assert isinstance(env, BatchedEnv)
        observation, _ = env.reset(seed=0)
        assert env.observation_space.contains(observation)
        frames = env.render()
        assert len(frames) == 2 and frames[0].shape == (256, 256, 3)
        assert not np.array_equal(*frames)


def test_processes_are_a_loop_to_the_bit():
    options = {"image_size": 16}
    single = loop("reach", 2, **options)
    with closing(ProcessVectorEnv("reach", 2, **options)) as processes:
        steps = robowm_envs.make("reach", observation="state").time_limit_steps + 3
        seen = play(processes, steps, seed=3)
    assert_same(seen, play(single, steps, seed=3))
    assert any(step[3].any() for step in seen[1:])
    single.close()
