"""The joint port: the same arm as the environment's own step, and a look before the leap."""

import numpy as np
import pytest

import robowm_envs
from robowm_envs import geometry
from robowm_envs.joints import JointPort


@pytest.fixture(scope="module", params=["grasp_rotate_place", "reorient"])
def pair(request):
    envs = [robowm_envs.make(request.param, observation="state", split="test") for _ in range(2)]
    yield envs
    for env in envs:
        env.close()


def action(env, dx: float, dy: float, closed: bool) -> np.ndarray:
    still = np.zeros(env.action_spec().shape[0] - 3)
    return np.array([dx, dy, *still, 1 if closed else -1], np.float32)


def test_targets_then_step_is_step_to_the_bit(pair):
    direct, driven = pair
    port, rng = JointPort(driven), np.random.default_rng(0)
    direct.reset(seed=1)
    driven.reset(seed=1)
    for _ in range(25):
        action = rng.uniform(-1, 1, direct.action_spec().shape).astype(np.float32)
        one, other = direct.step(action), port.step(port.targets(action))
        assert one.reward == other.reward
        np.testing.assert_array_equal(direct.get_state(), driven.get_state())


def test_looking_at_targets_changes_nothing(pair):
    env = pair[0]
    env.reset(seed=2)
    port, before = JointPort(env), env.get_state()
    first = port.targets(action(env, 1, 0, closed=True))
    second = port.targets(action(env, -1, 0, closed=False))
    np.testing.assert_array_equal(env.get_state(), before)
    assert np.abs(first - second).max() > 0.05


def test_holding_the_measured_position_stays_there(pair):
    env = pair[0]
    env.reset(seed=3)
    port = JointPort(env)
    for _ in range(6):
        port.step(port.targets(action(env, 1, 1, closed=False)))
    target = port.state()[0]
    for _ in range(10):
        port.step(target)
    q, dq = port.state()
    assert np.abs(q - target).max() < 0.01
    assert np.abs(dq).max() < 0.01


def test_targets_from_elsewhere_command_the_hand_where_they_bring_it(pair):
    env = pair[0]
    env.reset(seed=3)
    port = JointPort(env)
    q = port.state()[0] + np.array([0.02, 0.03, -0.02, 0.04, 0.0, -0.05, 0.06, 0.0])
    position, rotation, _ = env.physics.kinematics(q[:-1])
    port.step(q)
    np.testing.assert_allclose(env.controller.position, position, atol=1e-9)
    off = geometry.angle_between(env.controller.rotation, rotation)
    assert off < (1e-6 if env.name == "reorient" else 0.2)  # which the other cannot tilt


def test_the_tool_is_where_the_joints_put_it(pair):
    env = pair[0]
    env.reset(seed=4)
    port = JointPort(env)
    np.testing.assert_allclose(
        port.tool_position(port.state()[0]), env.physics.hand_position(), atol=1e-9
    )


@pytest.mark.parametrize("q", [np.zeros(3), np.full(8, np.nan)])
def test_targets_that_are_none_are_refused(pair, q):
    env = pair[0]
    env.reset(seed=5)
    with pytest.raises(robowm_envs.EnvError, match="8 finite numbers"):
        JointPort(env).step(q)
