"""The commanded hand: within its limits whatever is asked, and the two action spaces agree."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import robowm_envs
from robowm_envs import geometry, scene
from robowm_envs.controller import LEASH_RAD, TILTING, UPRIGHT, HandController

number = st.floats(-1.0, 1.0, allow_nan=False, width=32)
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def env():
    with closing(robowm_envs.make("reorient", observation="state")) as env:
        yield env


@quick
@given(st.lists(st.tuples(*[number] * 7), min_size=1, max_size=8), st.integers(1, 6))
def test_the_command_is_a_rotation_within_its_limits(env, actions, times):
    env.reset(seed=0)
    for action in actions:
        for _ in range(times):
            env.step(np.array(action, np.float32))
            control = env.controller
            rotation = control.rotation
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(rotation) == pytest.approx(1.0)
            assert np.linalg.norm(control.tilt) <= scene.TILT_LIMIT_RAD + 1e-9
            assert abs(control.yaw) <= scene.YAW_LIMIT_RAD + 1e-9
            behind = geometry.angle_between(env.physics.hand_rotation(), rotation)
            assert behind <= LEASH_RAD + np.linalg.norm(TILTING.scale[3:6]) + 0.3  # it has moved on


@quick
@given(st.lists(st.tuples(number, number, number, number), min_size=1, max_size=6))
def test_yaw_alone_moves_the_hand_as_where_it_cannot_tilt(env, moves):
    env.reset(seed=0)
    physics, state = env.physics, env.physics.get_state()

    def play(space):
        physics.set_state(state)
        controller = HandController(physics, space)
        controller.reset()
        controller.tilt = np.zeros(2)  # the hand starts a little off the vertical
        for *move, yaw in moves:
            turn = [0.0, 0.0, yaw] if space.tilts else [yaw]
            physics.simulate(controller.controls(np.array([*move, *turn, -1.0])))
        return controller.position, controller.rotation, physics.joint_position()

    for free, upright in zip(play(TILTING), play(UPRIGHT), strict=True):
        np.testing.assert_allclose(free, upright, atol=2e-3)


def test_a_rotation_vector_is_in_the_worlds_axes(env):
    env.reset(seed=0)
    for axis in range(3):
        before = env.physics.hand_rotation()
        action = np.zeros(7, np.float32)
        action[3 + axis], action[-1] = 0.8, -1
        env.step(action)
        for _ in range(4):
            env.step(np.array([0, 0, 0, 0, 0, 0, -1]))
        turned = geometry.vector_of(env.physics.hand_rotation() @ before.T)
        np.testing.assert_allclose(turned, 0.8 * 0.25 * np.eye(3)[axis], atol=0.02)


def test_a_turn_that_the_arm_cannot_follow_leaves_the_hand_in_the_workspace(env):
    """Fingers forward near its base the wrist is at its stop; pressing on must not throw the arm."""
    env.reset(seed=0)
    for action in ([-0.8, 0, -0.8, 0, 0, 0, -1], [0, 0, 0, 0, -1, 0, -1]):
        for _ in range(15):
            env.step(np.array(action, np.float32))
    low, high = scene.WORKSPACE_LOW_M - 0.05, scene.WORKSPACE_HIGH_M + 0.05
    hand = env.physics.hand_position()
    assert ((hand > low) & (hand < high)).all(), hand
    there = env.physics.hand_position()
    for _ in range(6):
        env.step(np.array([0, 0, 0.5, 0, 0.5, 0, -1]))
    assert env.physics.hand_position()[2] > there[2] + 0.08  # and turned back it is not stuck


@quick
@given(st.tuples(number, number, number))
def test_the_command_survives_being_a_vector(env, turn):
    env.reset(seed=0)
    env.step(np.array([0.1, 0.2, -0.3, *turn, 1.0], np.float32))
    one, other = env.controller, HandController(env.physics, TILTING)
    vector = one.to_vector()
    assert vector.shape == (one.size,)
    other.from_vector(vector)
    np.testing.assert_array_equal(other.to_vector(), vector)
    np.testing.assert_array_equal(other.rotation, one.rotation)


def test_an_upright_hands_vector_has_no_tilt(env):
    assert (
        HandController(env.physics, UPRIGHT).size == HandController(env.physics, TILTING).size - 2
    )
