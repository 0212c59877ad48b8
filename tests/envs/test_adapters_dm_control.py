"""dm_control's tasks keep the promises of this package's own environments."""

from __future__ import annotations

import numpy as np
import pytest

from robowm_envs import adapters
from robowm_envs.adapters import dm_control
from robowm_envs.errors import EnvError

SUITE = ("dm_control/reacher_easy", "dm_control/manipulator_bring_ball")
MANIPULATION = "dm_control/reach_site_vision"
SIZE = 32


@pytest.fixture(scope="module", params=[*SUITE, pytest.param(MANIPULATION, marks=pytest.mark.slow)])
def env(request):
    env = adapters.make(request.param, seed=3, image_size=SIZE)
    yield env
    env.close()


def actions(env, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, *env.action_spec().shape)).astype(np.float32)


def run(env, sequence):
    """Observations and rewards of a sequence of actions."""
    steps = [env.step(action) for action in sequence]
    return [s.observation for s in steps], [s.reward for s in steps]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


def test_specs_hold(env):
    assert set(env.observation_spec()) == {"proprio", "image_front"}
    assert env.observation_spec()["image_front"].shape == (SIZE, SIZE, 3)
    spec = env.action_spec()
    assert spec.dtype == np.float32 and (spec.minimum == -1).all() and (spec.maximum == 1).all()
    assert len(spec.name.split("\t")) == spec.shape[0] == len(env.action_scale)
    step = env.reset(seed=0)
    for action in actions(env, 5):
        for name, array in env.observation_spec().items():
            array.validate(step.observation[name])
        assert np.isfinite(step.observation["proprio"]).all()
        step = env.step(action)
        assert np.isfinite(step.reward) and step.discount in (0.0, 1.0)
    assert set(env.metrics()) == {"success", "reward"}
    assert env.privileged() == {} == dict(env.privileged_spec())


def test_same_seed_same_episode_and_others_differ(env):
    sequence = actions(env, 8)
    first = env.reset(seed=5).observation
    seen, rewards = run(env, sequence)
    other = env.reset(seed=6).observation
    assert not np.array_equal(first["proprio"], other["proprio"])
    assert_same(env.reset(seed=5).observation, first)
    again, rewards_again = run(env, sequence)
    assert rewards_again == rewards
    for a, b in zip(seen, again, strict=True):
        assert_same(a, b)


def test_state_restores_to_the_bit(env):
    sequence = actions(env, 14)
    env.reset(seed=7)
    run(env, sequence[:6])
    state, reward = env.get_state(), env.metrics()
    seen, rewards = run(env, sequence[6:])
    env.reset(seed=8)
    env.set_state(state)
    np.testing.assert_array_equal(env.get_state(), state)
    assert env.metrics() == reward
    again, rewards_again = run(env, sequence[6:])
    assert rewards_again == rewards
    for a, b in zip(seen, again, strict=True):
        assert_same(a, b)


def test_arrays_are_the_callers_own(env):
    first = env.reset(seed=1).observation
    copies = {k: v.copy() for k, v in first.items()}
    run(env, actions(env, 3))
    assert_same(first, copies)


@pytest.mark.slow
@pytest.mark.parametrize("task", dm_control.TASKS)
def test_every_task_restores_to_the_bit(task):
    env = dm_control.make(task, observation="state")
    sequence = actions(env, 10)
    env.reset(seed=1)
    run(env, sequence[:5])
    state = env.get_state()
    seen, rewards = run(env, sequence[5:])
    env.reset(seed=2)
    env.set_state(state)
    again, rewards_again = run(env, sequence[5:])
    assert rewards_again == rewards
    for a, b in zip(seen, again, strict=True):
        assert_same(a, b)


def test_picture_shows_the_scene(env):
    image = env.reset(seed=0).observation["image_front"]
    assert image.std() > 5


def test_actions_are_rescaled_to_the_tasks_own():
    env = adapters.make("dm_control/lift_brick_features", observation="state")
    assert set(env.observation_spec()) == {"proprio"}
    assert env.action_scale[0] == pytest.approx(0.62831853)  # joint 1 of the Jaco arm, rad/s
    assert env.action_spec().name.split("\t")[0] == "jaco_arm/joint_1"
    env.reset(seed=0)
    env.step(np.ones(9, np.float32))
    _, data = env._pointers()
    np.testing.assert_allclose(data.ctrl[:3], 0.62831853)


def test_time_limit_is_no_terminal():
    env = adapters.make("dm_control/reacher_easy", observation="state")
    env.reset(seed=0)
    for count in range(1, env.time_limit_steps + 1):
        step = env.step(np.zeros(2, np.float32))
        assert step.last() == (count == env.time_limit_steps)
    assert step.discount == 1.0
    assert env.step(np.zeros(2, np.float32)).first()


def test_success_is_a_high_reward():
    """Reacher pays 1 while the finger is in the target: joint angles are put there by hand."""
    env = adapters.make("dm_control/reacher_easy", observation="state")
    env.reset(seed=0)
    physics = env._env.physics
    assert env.metrics()["success"] == 0.0
    grid = np.linspace(-np.pi, np.pi, 60)
    found = []
    for shoulder in grid:
        for wrist in grid[:30]:
            physics.data.qpos[:] = shoulder, wrist
            physics.forward()
            if physics.finger_to_target_dist() < 0.02:
                found.append((shoulder, wrist))
    assert found
    physics.data.qpos[:] = found[0]
    physics.forward()
    env.step(np.zeros(2, np.float32))
    assert env.metrics() == {"success": 1.0, "reward": 1.0}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"task": "dm_control/reacher_eazy"}, "did you mean 'reacher_easy'"),
        ({"task": "dm_kontrol/reacher_easy"}, "unknown adapter"),
        ({"task": "dm_control/reacher_easy", "split": "shift_mass"}, "train"),
        ({"task": "dm_control/reacher_easy", "observation": "pixel"}, "did you mean 'pixels'"),
        ({"task": "dm_control/reacher_easy", "cameras": ("wrist",)}, "'front'"),
    ],
)
def test_bad_names_are_one_sentence(options, message):
    with pytest.raises(EnvError, match=message):
        adapters.make(**options)


@pytest.mark.parametrize("action", [np.zeros(3), [0.0, np.nan], [2.0, 0.0]])
def test_bad_actions_are_refused(action):
    env = adapters.make("dm_control/reacher_easy", observation="state")
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(EnvError):
        env.step(np.asarray(action, np.float32))
    np.testing.assert_array_equal(env.get_state(), before)
