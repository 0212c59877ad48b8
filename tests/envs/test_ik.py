"""Inverse kinematics against other people's solver, and the arm against its datasheet."""

from __future__ import annotations

from contextlib import closing

import mujoco
import numpy as np
import pytest

import robowm_envs
from robowm_envs import geometry, ik, scene
from robowm_envs.arms import panda


@pytest.fixture(scope="module")
def physics():
    with closing(robowm_envs.make("reach", observation="state")) as env:
        env.reset(seed=0)
        yield env.physics


def converge(physics, position, rotation, start=panda.REST, steps=20, kinematics=None):
    q = np.asarray(start, float)
    for _ in range(steps):
        q = ik.solve(
            kinematics or physics.kinematics,
            q,
            position,
            rotation,
            joint_low=physics.joint_low,
            joint_high=physics.joint_high,
            max_change=panda.JOINT_VELOCITY * 0.1,
            rest=panda.REST,
        )
    return q


def targets(n: int):
    rng = np.random.default_rng(0)
    for _ in range(n):
        position = rng.uniform(scene.WORKSPACE_LOW_M, scene.WORKSPACE_HIGH_M)
        yield position, geometry.pointing_down(rng.uniform(-np.pi / 2, np.pi / 2))


def test_the_model_has_the_datasheets_kinematics(physics):
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = rng.uniform(panda.JOINT_LOW, panda.JOINT_HIGH)
        for ours, theirs in zip(panda.forward(q), physics.kinematics(q), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_the_model_has_the_datasheets_limits(physics):
    np.testing.assert_array_equal(physics.joint_low, panda.JOINT_LOW)
    np.testing.assert_array_equal(physics.joint_high, panda.JOINT_HIGH)
    force = physics.model.actuator_forcerange[physics.arm_actuators]
    np.testing.assert_array_equal(force, np.stack([-panda.JOINT_TORQUE, panda.JOINT_TORQUE], 1))


def test_the_jacobian_is_the_derivative():
    rng, h = np.random.default_rng(1), 1e-6
    for _ in range(5):
        q = rng.uniform(panda.JOINT_LOW, panda.JOINT_HIGH)
        position, rotation, jacobian = panda.forward(q)
        for i in range(7):
            moved = panda.forward(q + h * np.eye(7)[i])
            twist = ik.pose_error(position, rotation, moved[0], moved[1]) / h
            np.testing.assert_allclose(twist, jacobian[:, i], atol=1e-5)


def test_reaches_the_whole_workspace_within_the_limits(physics):
    for position, rotation in targets(40):
        q = converge(physics, position, rotation)
        reached, turned, _ = physics.kinematics(q)
        assert np.linalg.norm(reached - position) < 1e-3
        assert geometry.angle_between(turned, rotation) < np.deg2rad(0.5)
        assert (q >= panda.JOINT_LOW).all() and (q <= panda.JOINT_HIGH).all()


def test_one_call_follows_one_action(physics):
    """What the controller asks of it: a step's move from a pose that it is at."""
    rng = np.random.default_rng(2)
    for position, rotation in targets(15):
        position = np.clip(position, [0.36, -0.2, 0.08], [0.62, 0.2, 0.25])
        q = converge(physics, position, rotation)
        position, rotation, _ = physics.kinematics(q)
        target = position + rng.uniform(-0.03, 0.03, 3)
        turned = geometry.about_z(rng.uniform(-0.15, 0.15)) @ rotation
        q = converge(physics, target, turned, q, steps=1)
        reached, arrived, _ = physics.kinematics(q)
        assert np.linalg.norm(reached - target) < 1e-3
        assert geometry.angle_between(arrived, turned) < 5e-3


def test_never_moves_faster_than_the_joints_may(physics):
    far = np.array([0.6, 0.2, 0.1]), geometry.pointing_down(1.5)
    q = converge(physics, *far, steps=1)
    assert (np.abs(q - panda.REST) <= panda.JOINT_VELOCITY * 0.1 + 1e-12).all()


def test_out_of_reach_stays_within_the_limits(physics):
    """Damped least squares promises no nearest point, but neither limits broken nor infinities."""
    q = panda.REST
    for _ in range(40):
        before = q
        q = converge(physics, np.array([2.0, 0.0, 0.3]), geometry.pointing_down(0.0), q, steps=1)
        assert np.isfinite(q).all()
        assert (q >= panda.JOINT_LOW).all() and (q <= panda.JOINT_HIGH).all()
        assert (np.abs(q - before) <= panda.JOINT_VELOCITY * 0.1 + 1e-12).all()


def test_pure_numpy_kinematics_give_the_same_solution(physics):
    """The real arm has no simulator beside it."""
    for position, rotation in targets(5):
        with_simulator = converge(physics, position, rotation)
        without = converge(physics, position, rotation, kinematics=panda.forward)
        np.testing.assert_allclose(with_simulator, without, atol=1e-7)


def test_agrees_with_mink(physics):
    mink = pytest.importorskip("mink", reason="mink is the reference: pip install 'robowm[test]'")
    pytest.importorskip("daqp", reason="mink's solver is missing: pip install 'robowm[test]'")
    model, arm = physics.model, physics.scene.arm
    for position, rotation in targets(6):
        configuration = mink.Configuration(model, q=physics.data.qpos.copy())
        q = configuration.q.copy()
        q[physics.arm_qpos] = panda.REST
        configuration.update(q)
        task = mink.FrameTask(arm.tcp, "site", position_cost=1.0, orientation_cost=1.0)
        pose = mink.SE3.from_rotation_and_translation(mink.SO3.from_matrix(rotation), position)
        task.set_target(pose)
        posture = mink.PostureTask(model, cost=1e-3)
        posture.set_target(q)
        limits = [mink.ConfigurationLimit(model)]
        for _ in range(60):
            velocity = mink.solve_ik(
                configuration, [task, posture], 0.1, "daqp", damping=1e-6, limits=limits
            )
            configuration.integrate_inplace(velocity, 0.1)
        theirs = configuration.q[physics.arm_qpos]
        ours = converge(physics, position, rotation)
        (p1, r1, _), (p2, r2, _) = physics.kinematics(theirs), physics.kinematics(ours)
        assert np.linalg.norm(p1 - p2) < 1e-3
        assert geometry.angle_between(r1, r2) < np.deg2rad(0.5)
        # The redundant joint may differ: both are near the rest posture, none went another way.
        assert np.abs(theirs - ours).max() < 0.35


def test_the_hand_goes_where_it_is_commanded():
    """Controller, servos and all: after a move and half a second the hand is there."""
    with closing(robowm_envs.make("reach", observation="state")) as env:
        env.reset(seed=3)
        for action in ([0.6, -0.8, -0.5, 0.7, -1], [-0.5, 0.9, 0.5, -1.0, 1]):
            start, yaw = env.controller.position.copy(), env.controller.yaw
            for _ in range(2):
                env.step(action)
            for _ in range(5):
                env.step([0, 0, 0, 0, action[4]])
            moved = env.physics.hand_position() - start
            np.testing.assert_allclose(moved, 2 * 0.05 * np.array(action[:3]), atol=2e-3)
            turned = geometry.wrap(env.physics.hand_yaw() - yaw)
            assert turned == pytest.approx(2 * 0.25 * action[3], abs=0.01)


def test_the_scene_survives_being_written_out(physics):
    again = mujoco.MjModel.from_xml_string(physics.scene.spec.to_xml())
    assert (again.nq, again.nu, again.ngeom) == (
        physics.model.nq,
        physics.model.nu,
        physics.model.ngeom,
    )
