"""A state that is put back brings everything back, whether the episode had ended or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import mujoco
import numpy as np
import pytest

import robowm_envs
from robowm_envs.env import ManipulationEnv
from robowm_envs.errors import EnvError


@pytest.fixture(params=robowm_envs.TASKS)
def env(request: pytest.FixtureRequest) -> Iterator[ManipulationEnv]:
    with closing(robowm_envs.make(request.param, observation="state")) as env:
        env.time_limit_steps = 8  # an end is an end
        yield env


def nothing(env: ManipulationEnv) -> np.ndarray:
    return np.append(np.zeros(env.action_spec().shape[0] - 1), -1.0).astype(np.float32)


def play_to_the_end(env: ManipulationEnv) -> None:
    while not env.step(nothing(env)).last():
        pass


def test_from_an_end_back_to_the_middle_the_next_step_is_a_step(env: ManipulationEnv):
    env.reset(seed=0)
    env.step(nothing(env))
    state, expected = env.get_state(), env.step(nothing(env))
    play_to_the_end(env)
    env.set_state(state)
    step = env.step(nothing(env))
    assert step.mid() and step.reward == expected.reward
    for name, array in expected.observation.items():
        np.testing.assert_array_equal(step.observation[name], array)


def test_from_the_middle_back_to_an_end_the_next_step_is_a_reset(env: ManipulationEnv):
    env.reset(seed=0)
    play_to_the_end(env)
    state = env.get_state()
    env.reset(seed=1)
    env.step(nothing(env))
    env.set_state(state)
    np.testing.assert_array_equal(env.get_state(), state)
    assert env.step(nothing(env)).first()


def test_an_environment_that_was_never_reset_takes_a_state(env: ManipulationEnv):
    env.reset(seed=0)
    state, expected = env.get_state(), env.step(nothing(env))
    with closing(robowm_envs.make(env.name, observation="state")) as other:
        other.set_state(state)
        step = other.step(nothing(other))
        assert step.mid() and step.reward == expected.reward
        assert other.conditions() == env.conditions()


def test_the_time_limit_counts_from_the_state_put_back(env: ManipulationEnv):
    env.reset(seed=0)
    for _ in range(env.time_limit_steps - 2):
        env.step(nothing(env))
    state = env.get_state()
    play_to_the_end(env)
    env.set_state(state)
    assert [env.step(nothing(env)).last() for _ in range(2)] == [False, True]


def test_there_is_no_state_before_an_episode(env: ManipulationEnv):
    with pytest.raises(EnvError, match="call reset"):
        env.get_state()


def test_the_model_is_kept_as_text(env: ManipulationEnv):
    model = mujoco.MjModel.from_xml_string(env.model_xml())
    assert model.nq == env.physics.model.nq and model.nu == env.physics.model.nu
