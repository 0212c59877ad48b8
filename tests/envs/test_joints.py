"""The joint port: the arm of the environment, driven along joint trajectories."""

import numpy as np
import pytest

import robowm_envs
from robowm_envs import geometry
from robowm_envs.joints import JointPort


@pytest.fixture(scope="module", params=["grasp_rotate_place", "reorient"])
def env(request):
    made = robowm_envs.make(request.param, observation="state", split="test")
    yield made
    made.close()


def line(port, start, end):
    """Positions and velocities [S, N] of a control step at even speed."""
    share = (port.sample_s / port.sample_s[-1])[:, None]
    return start + (end - start) * share, np.tile(
        (end - start) / port.sample_s[-1], (len(share), 1)
    )


def test_it_goes_where_it_is_led(env):
    env.reset(seed=3)
    port = JointPort(env)
    start = port.state()[0]
    q = start.copy()
    for _ in range(6):
        on = q + np.array([0.02, 0.03, -0.02, 0.04, 0.0, -0.05, 0.06, 0.0])
        port.follow(*line(port, q, on))
        q = on
    for _ in range(5):
        port.follow(*line(port, q, q))
    reached, speed = port.state()
    assert np.abs(reached - q)[:-1].max() < 0.01 and np.abs(speed).max() < 0.01
    assert np.abs(reached - start).max() > 0.3


def test_the_hand_is_commanded_where_the_joints_are_led(env):
    env.reset(seed=3)
    port = JointPort(env)
    start = port.state()[0]
    q = start + np.array([0.02, 0.03, -0.02, 0.04, 0.0, -0.05, 0.06, 0.0])
    position, rotation, _ = env.physics.kinematics(q[:-1])
    port.follow(*line(port, start, q))
    np.testing.assert_allclose(env.controller.position, position, atol=1e-9)
    off = geometry.angle_between(env.controller.rotation, rotation)
    assert off < (1e-6 if env.name == "reorient" else 0.2)  # which the other cannot tilt


def test_a_width_below_half_closes_the_gripper(env):
    env.reset(seed=3)
    port = JointPort(env)
    q = port.state()[0]
    q[-1] = 0.0
    for _ in range(8):
        port.follow(*line(port, q, q))
    assert port.state()[0][-1] < 0.01


def test_pushes_come_when_it_is_led_as_when_it_acts():
    acted, led = (
        robowm_envs.make("grasp_rotate_place", observation="state", split="test", push="object")
        for _ in range(2)
    )
    for env in (acted, led):
        env.reset(seed=2)
    before = led.physics.object_position()
    port = JointPort(led)
    q = port.state()[0]
    for _ in range(40):
        port.follow(*line(port, q, q))
    assert np.linalg.norm(led.physics.object_position() - before) > 0.02
    acted.close()
    led.close()


@pytest.mark.parametrize("q", [np.zeros((20, 3)), np.full((20, 8), np.nan), np.zeros(8)])
def test_positions_that_are_none_are_refused(env, q):
    env.reset(seed=5)
    with pytest.raises(robowm_envs.EnvError, match="joint positions have shape"):
        JointPort(env).follow(q, q)
