"""Success is honest: each of its conditions is needed, and all of them are enough."""

from __future__ import annotations

from contextlib import closing

import mujoco
import numpy as np
import pytest

import robowm_envs
from robowm_envs import geometry
from robowm_envs.expert import Expert
from robowm_envs.tasks.base import HOLD_STEPS

STAY = np.array([0, 0, 0, 0, -1], np.float32)
place_tasks = pytest.mark.parametrize("task", ("grasp_rotate_place", "slip"))


def laid(task: str, offset_m=(0.0, 0.0), turn_deg: float = 0.0, steps: int = HOLD_STEPS + 2):
    """Metrics over some steps after the object was laid near its target, hand away."""
    with closing(robowm_envs.make(task, observation="state")) as env:
        env.reset(seed=2)
        goal = env.goal
        position = goal.position + np.array([*offset_m, 0.0])
        env.physics.place_object(position, goal.yaw + np.deg2rad(turn_deg))
        env.physics.forward()
        seen = []
        for _ in range(steps):
            step = env.step(STAY)
            seen.append(env.metrics() | {"reward": step.reward})
        return seen


@place_tasks
def test_placed_and_held_for_half_a_second_is_success(task: str):
    success = [m["success"] for m in laid(task)]
    first = success.index(1.0)
    # One step may be lost to settling; never is it less than the whole half second.
    assert first in (HOLD_STEPS - 1, HOLD_STEPS)
    assert success == [0.0] * first + [1.0] * (len(success) - first)


@place_tasks
@pytest.mark.parametrize(
    ("offset_m", "turn_deg", "succeeds"),
    (
        ((0.0, 0.0), 180.0, True),  # the bar looks the same
        ((0.017, 0.0), 0.0, True),
        ((0.0, 0.0), -8.0, True),
        ((0.0, 0.0), 188.0, True),
        ((0.023, 0.0), 0.0, False),
        ((0.016, -0.016), 0.0, False),
        ((0.0, 0.0), 12.0, False),
        ((0.0, 0.0), 90.0, False),
        ((0.0, 0.0), 168.0, False),
    ),
)
def test_tolerances_are_two_centimetres_and_ten_degrees(task, offset_m, turn_deg, succeeds):
    assert laid(task, offset_m, turn_deg)[-1]["success"] == float(succeeds)


@place_tasks
def test_errors_are_in_metres_and_radians_up_to_symmetry(task: str):
    last = laid(task, (0.03, 0.04), 175.0)[-1]
    assert last["position_error_m"] == pytest.approx(0.05, abs=2e-3)
    assert last["rotation_error_rad"] == pytest.approx(np.deg2rad(5), abs=5e-3)


@place_tasks
def test_holding_it_in_place_is_not_success_and_earns_less_than_letting_go(task: str):
    with closing(robowm_envs.make(task, observation="state")) as env:
        env.reset(seed=2)
        expert, rewards, step = Expert(env), [], None
        while step is None or not step.last():
            action = expert.act()
            position, rotation = env.task.errors(env.physics, env.goal)
            if env.physics.grasped() and position < 0.02 and rotation < 0.17:
                break
            step = env.step(action)
        for _ in range(12):  # down to the table, and hold on
            step = env.step([0, 0, -0.1, 0, 1])
            rewards.append(step.reward)
            assert env.physics.grasped() and env.metrics()["success"] == 0.0
        step = env.step(STAY)
        while not step.last():
            step = env.step(expert.act())
        assert env.metrics()["success"] == 1.0
        assert step.reward > max(rewards) + 0.1
        assert step.reward == pytest.approx(1.0, abs=0.02)


@place_tasks
def test_reward_is_all_of_it_at_the_goal(task: str):
    assert laid(task)[-1]["reward"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("task", robowm_envs.TASKS)
def test_reward_rises_along_the_experts_path(task: str):
    """Quarter by quarter, up to where it pays all: a planner that climbs finds the way."""
    for seed in range(3):
        with closing(robowm_envs.make(task, observation="state", split="test")) as env:
            step, rewards, expert = env.reset(seed=seed), [], Expert(env)
            while (not rewards or rewards[-1] < 0.99) and not step.last():
                step = env.step(expert.act())
                rewards.append(step.reward)
            quarters = [np.mean(part) for part in np.array_split(rewards, min(4, len(rewards)))]
            assert (np.diff(quarters) > 0).all(), f"seed {seed}: {np.round(rewards, 2)}"
            assert np.diff(rewards).min() > -0.15, f"seed {seed}: {np.round(rewards, 2)}"
            assert rewards[-1] >= 0.99


def stood(
    offset_m=(0.0, 0.0),
    lean_deg=0.0,
    cap_up=True,
    rolled_deg=0.0,
    action=None,
    steps=HOLD_STEPS + 2,
):
    """Metrics over some steps after the bar was stood near its target, hand away."""
    with closing(robowm_envs.make("reorient", observation="state")) as env:
        env.reset(seed=2)
        physics, half = env.physics, env.physics.object_half_size()
        lean = np.deg2rad(lean_deg)
        physics.place_object(env.goal.position + np.array([*offset_m, 0.0]), 0.0)
        upright = geometry.rotation_of(np.array([0.0, -np.pi / 2 if cap_up else np.pi / 2, 0.0]))
        rotation = geometry.about_z(np.deg2rad(rolled_deg)) @ upright
        rotation = geometry.rotation_of(np.array([lean, 0.0, 0.0])) @ rotation
        start = physics.model.joint("object").qposadr[0]
        mujoco.mju_mat2Quat(physics.data.qpos[start + 3 : start + 7], rotation.ravel())
        physics.data.qpos[start + 2] = np.abs(rotation[2]) @ half
        physics.forward()
        errors = env.task.errors(physics, env.goal)
        seen = []
        for _ in range(steps):
            step = env.step([0, 0, 0, 0, 0, 0, -1] if action is None else action)
            seen.append(env.metrics() | {"reward": step.reward})
        return errors, seen


@pytest.mark.parametrize("rolled_deg", (0.0, 30.0, 45.0, 200.0))
def test_standing_cap_up_for_half_a_second_is_success_at_any_yaw(rolled_deg: float):
    _, seen = stood(rolled_deg=rolled_deg)
    success = [m["success"] for m in seen]
    assert success.index(1.0) in (HOLD_STEPS - 1, HOLD_STEPS)
    assert seen[-1]["reward"] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("how", "succeeds"),
    (
        ({"offset_m": (0.017, 0.0)}, True),
        ({"offset_m": (0.016, -0.016)}, False),
        ({"offset_m": (0.0, 0.023)}, False),
        ({"cap_up": False}, False),
        ({"lean_deg": 90.0}, False),
        ({"action": [0, 0, 0, 0, 0, 0, 1]}, False),  # the gripper is closed, if on nothing
    ),
)
def test_each_condition_of_standing_is_needed(how, succeeds):
    assert stood(**how)[1][-1]["success"] == float(succeeds)


def test_the_wrong_end_up_is_half_a_turn_off_and_earns_little():
    (position, rotation), seen = stood(cap_up=False)
    assert position < 1e-6 and rotation == pytest.approx(np.pi, abs=1e-6)
    assert seen[-1]["reward"] < 0.3


def test_a_lean_is_a_rotation_error_and_no_moment_of_success():
    (_, rotation), _ = stood(lean_deg=12.0)
    assert rotation == pytest.approx(np.deg2rad(12.0), abs=1e-6)


def test_holding_the_bar_upright_at_its_place_is_not_success():
    with closing(robowm_envs.make("reorient", observation="state", split="test")) as env:
        step, expert = env.reset(seed=2), Expert(env)
        while (
            not (action := expert.act())[-1] < 0 or env.task.errors(env.physics, env.goal)[1] > 0.15
        ):
            step = env.step(action)
        for _ in range(10):
            step = env.step([0, 0, 0, 0, 0, 0, 1])
            assert env.physics.grasped() and env.metrics()["success"] == 0.0
        held = step.reward
        while not step.last():
            step = env.step(expert.act())
        assert env.metrics()["success"] == 1.0 and step.reward > held + 0.1


def test_lifting_counts_only_in_the_grasp_and_at_the_height():
    with closing(robowm_envs.make("grasp", observation="state")) as env:
        env.reset(seed=0)
        height = env.goal.position[2]
        env.physics.place_object(np.array([0.5, 0.0, height]), 0.0)
        env.physics.forward()
        assert env.task.errors(env.physics, env.goal)[0] < 1e-9
        assert not env.task.is_solved(env.physics, env.goal), "it floats in nobody's hand"


def test_a_drop_is_noticed():
    with closing(robowm_envs.make("grasp", observation="state")) as env:
        env.reset(seed=0)
        expert = Expert(env)
        for _ in range(30):
            env.step(expert.act())
        assert env.metrics()["lifted"] == 1.0 and env.metrics()["dropped"] == 0.0
        for _ in range(3):
            env.step(STAY)
        assert env.metrics()["dropped"] == 1.0
