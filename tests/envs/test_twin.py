"""The twin: the arm's kinematics, commands and collisions from joint positions alone."""

import mujoco
import numpy as np
import pytest

import robowm_envs
from robowm_envs import geometry, ik
from robowm_envs.expert import Expert
from robowm_envs.joints import JointPort
from robowm_envs.twin import FINGERTIP_M, Twin, _place


@pytest.fixture(scope="module")
def twin():
    return Twin()


@pytest.fixture(scope="module", params=["grasp_rotate_place", "reorient"])
def env(request):
    made = robowm_envs.make(request.param, observation="state", split="test")
    yield made
    made.close()


def test_an_expert_at_work_is_where_it_is_and_touches_nothing(twin, env):
    expert, port = Expert(env), JointPort(env)
    step = env.reset(seed=4)
    expert.reset()
    while not step.last():
        step = env.step(expert.act(step.observation))
        tool, distance, _ = twin.look(port.state()[0])
        np.testing.assert_allclose(tool, env.physics.hand_position(), atol=1e-9)
        assert distance > 0.01


def test_it_tells_what_the_environment_tells_of_the_arm(twin, env):
    expert, port = Expert(env), JointPort(env)
    step = env.reset(seed=7)
    while not step.last():
        told = twin.proprio(*port.state(), port.effort())
        assert told.dtype == np.float32
        np.testing.assert_allclose(told, step.observation["proprio"], atol=1e-5)
        step = env.step(expert.act())


def test_what_it_tells_is_within_the_bounds_of_the_observation(twin, env):
    spec, q = env.observation_spec()["proprio"], np.zeros(8)
    for sign in (-10.0, 10.0):
        told = twin.proprio(q, np.full(8, sign), np.full(8, sign))
        spec.validate(told)
        assert told[7:14] == pytest.approx(np.sign(sign) * env.physics.scene.arm.joint_velocity)


def test_it_aims_where_the_environment_aims(twin, env):
    port = JointPort(env)
    step = env.reset(seed=5)
    end_stops = env.physics.joint_low, env.physics.joint_high
    commander = twin.commander(env.task.actions.names, *(np.append(x, 0.0) for x in end_stops))
    commander.reset(port.state()[0])
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, env.action_spec().shape).astype(np.float32)
        target = commander.target(action, port.state()[0])
        step = env.step(action)
        np.testing.assert_allclose(target[:-1], env.controller.joint_target, atol=1e-9)
        assert (target[-1] == 0.0) == (action[-1] > 0)
    assert not step.last()


def test_what_was_commanded_can_be_commanded_again(twin, env):
    env.reset(seed=6)
    q = JointPort(env).state()[0]
    commander = twin.commander(env.task.actions.names, q - 1, q + 1)
    commander.reset(q)
    action = np.full(env.action_spec().shape, 0.5, np.float32)
    before = commander.state()
    first = commander.target(action, q)
    assert not np.array_equal(commander.target(action, q), first)
    commander.restore(before)
    np.testing.assert_array_equal(commander.target(action, q), first)


def test_targets_stay_within_the_limits_that_are_given(twin, env):
    env.reset(seed=6)
    q = JointPort(env).state()[0]
    commander = twin.commander(env.task.actions.names, q - 0.01, q + 0.01)
    commander.reset(q)
    action = np.ones(env.action_spec().shape, np.float32)
    for _ in range(5):
        target = commander.target(action, q)
        assert (np.abs(target - q)[:-1] <= 0.01).all()


# Folded onto itself, and lying on the table: joint positions within the end stops.
@pytest.mark.parametrize(
    ("q", "pair"),
    [
        ([-0.3, 1.0, -1.6, -2.9, -0.6, 0.7, -2.4, 0.08], {"link2", "hand"}),
        ([2.7, -1.2, -2.4, -2.2, 0.8, 1.0, 1.2, 0.08], {"link6", "table"}),
    ],
)
def test_what_would_touch_is_named(twin, q, pair):
    _, distance, names = twin.look(np.array(q, float))
    assert distance < 0
    assert set(names) == pair


def test_a_distance_is_never_more_than_it_is(twin):
    """From any point of the arm to the table it is at least as far as what is said."""
    rng, physics = np.random.default_rng(2), twin._physics
    model, data = physics.model, physics.data
    table = model.geom("table").id
    low = model.geom_pos[table] - model.geom_size[table]
    high = model.geom_pos[table] + model.geom_size[table]
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 3), -1).reshape(-1, 3)
    parts = []  # geom, points of it in its frame, how much thicker than these it is, whether a finger
    for geom in range(model.ngeom):
        body, size = model.body(model.geom_bodyid[geom]).name, model.geom_size[geom]
        if model.geom_contype[geom] and body != "arm/link0":
            is_box = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX
            points = grid * size if is_box else grid * [0, 0, size[1]]
            parts.append((geom, points, 0.0 if is_box else size[0], "finger" in body))
    near = 0
    for _ in range(1500):
        q = np.append(rng.uniform(physics.joint_low, physics.joint_high), rng.uniform(0, 0.08))
        _, distance, _ = twin.look(q)
        for geom, points, radius, is_finger in parts:
            placed = data.geom_xpos[geom] + points @ data.geom_xmat[geom].reshape(3, 3).T
            away = np.maximum(np.maximum(low - placed, placed - high), 0.0)
            known = np.linalg.norm(away, axis=1).min() - radius
            near += known < twin.sight_m
            assert distance <= max(known, 0.0) + FINGERTIP_M * is_finger + 1e-6
    assert near > 100


def test_fingers_may_come_nearer_to_the_table_than_links(twin):
    """Pointing down, the fingertips are 8.5 mm below the tool point."""
    physics = twin._physics
    target = np.array([0.48, 0.0, 0.012])
    q = ik.solve(
        physics.kinematics, physics.scene.arm.rest, target, geometry.pointing_down(0.0),
        joint_low=physics.joint_low, joint_high=physics.joint_high, max_change=np.full(7, 9.0),
        rest=physics.scene.arm.rest, iterations=200,
    )  # fmt: skip
    tool, distance, names = twin.look(np.append(q, 0.04))
    np.testing.assert_allclose(tool, target, atol=5e-4)
    assert distance == pytest.approx(tool[2] - 0.0085 + FINGERTIP_M, abs=2e-4)
    assert "table" in names and ("left_finger" in names or "right_finger" in names)


def test_nothing_moves_further_than_it_is_said_to_reach(twin):
    rng = np.random.default_rng(1)
    physics = twin._physics
    low, high = physics.joint_low, physics.joint_high
    for _ in range(100):
        q = np.append(rng.uniform(low, high), 0.04)
        step = rng.uniform(-0.01, 0.01, 8)
        step[-1] = 0.0
        _place(physics, q)
        before = physics.data.geom_xpos.copy()
        _place(physics, q + step)
        moved = np.linalg.norm(physics.data.geom_xpos - before, axis=1).max()
        assert moved <= np.abs(step) @ twin.reach_m + 1e-9


def test_actions_that_no_task_has_are_refused(twin):
    with pytest.raises(robowm_envs.EnvError, match="dx_m, gripper"):
        twin.commander(("dx_m", "gripper"), np.zeros(8), np.ones(8))
