"""Scenes of several objects, and the two tasks that have them: stack and sort."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

import robowm_envs
from robowm_envs import geometry, randomise
from robowm_envs.env import SPOILT, ManipulationEnv
from robowm_envs.expert import Expert, MistakenExpert
from robowm_envs.objects import BASE, CAPPED_BAR
from robowm_envs.randomise import Draw
from robowm_envs.tasks.base import AREA_HIGH_M, AREA_LOW_M, HOLD_STEPS
from robowm_envs.tasks.sort import Places, Sort
from robowm_envs.tasks.stack import BLOCK, OBJECT, Stack

STAY = np.array([0, 0, 0, 0, -1], np.float32)
SHUT = np.array([0, 0, 0, 0, 1], np.float32)


@pytest.fixture
def stack() -> Iterator[ManipulationEnv]:
    with closing(robowm_envs.make("stack", observation="state")) as env:
        env.reset(seed=2)
        yield env


@pytest.fixture
def sort() -> Iterator[ManipulationEnv]:
    with closing(robowm_envs.make("sort", observation="state")) as env:
        env.reset(seed=2)
        yield env


def goes_on(env: ManipulationEnv, action: np.ndarray = STAY, steps: int = HOLD_STEPS + 3) -> float:
    """Success after some steps of one action."""
    env.physics.forward()
    for _ in range(steps):
        env.step(action)
    return env.metrics()["success"]


def put_on_block(env: ManipulationEnv, offset_m=(0.0, 0.0), turn_deg: float = 0.0) -> None:
    target = env.task.target(env.physics, env.goal)
    position = target.position + np.array([*offset_m, 0.0])
    env.physics.place_object(position, target.yaw + np.deg2rad(turn_deg))


def put_at_goals(
    env: ManipulationEnv, which=(0, 1, 2), offset_m: float = 0.0, turn_deg=0.0
) -> None:
    for i in which:
        goal = env.goal.of(i)
        position = goal.position + np.array([offset_m, 0.0, 0.0])
        env.physics.place_object(position, goal.yaw + np.deg2rad(turn_deg), i)


# What is told


@pytest.mark.parametrize(
    ("task", "names"), (("stack", ("object", "base")), ("sort", ("object", "green", "blue")))
)
def test_every_object_is_told_of_by_its_name(task: str, names: tuple[str, ...]):
    with closing(robowm_envs.make(task, observation="state")) as env:
        seen = env.reset(seed=3).observation["object"].reshape(len(names), 9)
        told = env.privileged()
        poses = [f"{name}_{part}" for name in names for part in ("position", "yaw")]
        assert list(told) == list(env.privileged_spec()) == [*poses, "contact", "slip"]
        for i, name in enumerate(names):
            turn = 2 * env.physics.object_yaw(i)
            np.testing.assert_allclose(told[f"{name}_position"], env.physics.object_position(i))
            np.testing.assert_allclose(told[f"{name}_yaw"], [np.sin(turn), np.cos(turn)], atol=1e-6)
            np.testing.assert_array_equal(seen[i, :3], told[f"{name}_position"])
            np.testing.assert_array_equal(seen[i, 3:5], told[f"{name}_yaw"])


def test_of_an_object_with_a_cap_among_others_the_axis_is_told():
    class Capped(Stack):
        things = (CAPPED_BAR, BASE)

    with closing(ManipulationEnv(Capped(), observation="state")) as env:
        seen = env.reset(seed=3).observation["object"]
        told, physics = env.privileged(), env.physics
        poses = ["object_position", "object_rotation", "base_position", "base_yaw"]
        assert list(told) == list(env.privileged_spec()) == [*poses, "contact", "slip"]
        np.testing.assert_allclose(told["object_rotation"], physics.object_axis(), atol=1e-6)
        np.testing.assert_array_equal(seen[3:6], told["object_rotation"])
        np.testing.assert_array_equal(seen[12:14], told["base_yaw"])
        for name, spec in (env.observation_spec() | env.privileged_spec()).items():
            assert spec.shape == (told | {"object": seen}).get(name, spec.generate_value()).shape
        assert physics.object_bottom(0) == pytest.approx(0.0, abs=1e-3)
        assert physics.object_bottom(1) == pytest.approx(0.0, abs=4e-3)


def test_contact_is_that_of_the_object_in_the_hand(sort: ManipulationEnv):
    expert = Expert(sort)
    held = sort.goal.order[0]
    for _ in range(30):
        sort.step(expert.act())
        if sort.physics.grasped(held):
            break
    assert sort.physics.handled() == held
    np.testing.assert_array_equal(sort.privileged()["contact"], [1, 1])
    others = [i for i in sort.physics.objects if i != held]
    assert not any(sort.physics.hand_touches_object(i) for i in others)


def test_objects_share_the_stuff_they_are_made_of():
    options = {"observation": "state", "split": "shift_all"}
    with closing(robowm_envs.make("stack", **options)) as env:
        for seed in range(3):
            env.reset(seed=seed)
            model, c = env.physics.model, env.conditions()
            for i, thing in enumerate(env.task.things):
                half = np.array(thing.half_size_m) * [
                    c["length_scale"], c["width_scale"], c["width_scale"]
                ]  # fmt: skip
                np.testing.assert_allclose(env.physics.object_half_size(i), half)
                mass = model.body_mass[model.body(thing.name).id]
                assert mass == pytest.approx(thing.mass_kg * c["mass_scale"])
                assert model.geom_friction[model.geom(thing.name).id, 0] == c["friction"]


@pytest.mark.parametrize("task", ("stack", "sort"))
@pytest.mark.parametrize("camera", ("front", "wrist"))
def test_the_objects_can_be_told_apart_in_the_pictures(task: str, camera: str):
    """Each object's colour fills some pixels of 64 x 64 where it is seen from near or far."""
    with closing(robowm_envs.make(task, image_size=64)) as env:
        env.reset(seed=0)
        seen = []
        for i, thing in enumerate(env.task.things):
            hand = env.physics.hand_position()
            ahead = 0.03 if camera == "wrist" else 0.05
            for j in env.physics.objects:  # the others out of the picture
                position = hand + [ahead if j == i else 2.0, 0.0, 0.0]
                env.physics.place_object(np.append(position[:2], 0.02), 1.2, j)
            env.physics.forward()
            image = env.render(camera).astype(float)
            chroma = image / image.sum(-1, keepdims=True).clip(1)
            want = np.array(thing.rgb) / np.sum(thing.rgb)
            seen.append((np.abs(chroma - want).sum(-1) < 0.3) & (image.max(-1) > 80))
        assert all(mask.sum() >= 8 for mask in seen), [mask.sum() for mask in seen]


# Starts


@pytest.mark.parametrize("split", ("train", "shift_pose"))
@pytest.mark.parametrize("scale", (1.0, 1.18))
def test_bars_to_sort_start_and_belong_where_each_can_be_grasped(split: str, scale: float):
    task = Sort()
    half = np.array([thing.half_size_m for thing in task.things]) * scale
    around = np.array([half[0, 0], 0.064])  # the bar between open fingers
    orders = set()
    for episode in range(150):
        start = task.draw_start(Draw(split, episode, randomise.GROUPS), half)
        goals = [start.goal.of(i) for i in range(3)]
        places = [(start.object_position[:2], start.object_yaw)]
        places += [(position[:2], yaw) for position, yaw in start.others]
        places += [(goal.position[:2], goal.yaw) for goal in goals]
        for a, one in enumerate(places):
            for b, other in enumerate(places):
                assert a == b or geometry.gap_between(one, around, other, half[0, :2]) > 0
        inside = all(((p >= AREA_LOW_M) & (p <= AREA_HIGH_M)).all() for p, _ in places)
        assert inside == (split == "train")
        orders.add(start.goal.order)
    assert len(orders) == 6, "every order is drawn"


@pytest.mark.parametrize("split", ("train", "shift_pose"))
def test_bar_and_block_start_apart(split: str):
    task = Stack()
    half = np.array([thing.half_size_m for thing in task.things]) * 1.18
    for episode in range(500):
        start = task.draw_start(Draw(split, episode, randomise.GROUPS), half)
        bar, block = (start.object_position[:2], start.object_yaw), start.others[0]
        gap = geometry.gap_between(bar, half[0, :2], (block[0][:2], block[1]), half[1, :2])
        assert gap > 0.02


def test_places_survive_their_vector(sort: ManipulationEnv):
    vector = sort.goal.to_vector()
    assert vector.shape == (sort.task.goal_size,)
    again = Places.from_vector(vector)
    np.testing.assert_array_equal(again.to_vector(), vector)
    assert again.order == sort.goal.order


# Stack: success is honest


def test_bar_on_block_for_half_a_second_is_success(stack: ManipulationEnv):
    put_on_block(stack)
    stack.physics.forward()
    success = []
    for _ in range(HOLD_STEPS + 4):
        step = stack.step(STAY)
        success.append(stack.metrics()["success"])
    assert HOLD_STEPS - 1 <= success.index(1.0) <= HOLD_STEPS + 1
    assert step.reward == pytest.approx(1.0, abs=0.01)
    assert stack.metrics()["dropped"] == 0.0


@pytest.mark.parametrize(
    ("offset_m", "turn_deg", "succeeds"),
    (
        ((0.0, 0.0), 180.0, True),
        ((0.012, 0.012), 0.0, True),
        ((0.0, 0.0), -8.0, True),
        ((0.024, 0.0), 0.0, False),
        ((0.0, 0.0), 12.0, False),
        ((0.0, 0.0), 90.0, False),
    ),
)
def test_tolerances_are_relative_to_the_block(stack, offset_m, turn_deg, succeeds):
    stack.physics.place_object(np.array([0.50, 0.05, 0.021]), 0.7, BLOCK)  # wherever it is now
    stack.physics.forward()
    put_on_block(stack, offset_m, turn_deg)
    assert goes_on(stack) == float(succeeds)


def test_a_bar_on_the_table_is_on_no_block(stack: ManipulationEnv):
    assert goes_on(stack) == 0.0
    assert not stack.physics.objects_touch(OBJECT, BLOCK)


def test_a_block_on_its_side_is_no_base(stack: ManipulationEnv):
    physics = stack.physics
    address = physics.model.joint("base").qposadr[0]
    upright = physics.object_half_size(BLOCK)
    physics.data.qpos[address : address + 7] = [
        0.5,
        0.0,
        upright[1] + 0.003,
        *np.sqrt([0.5, 0.5, 0, 0]),
    ]
    physics.place_object(np.array([0.5, 0.0, 2 * upright[1] + 0.027]), 0.0)
    assert goes_on(stack) == 0.0
    assert physics.objects_touch(OBJECT, BLOCK) and stack.metrics()["position_error_m"] > 0.02


def test_a_gripper_that_is_not_open_is_not_done(stack: ManipulationEnv):
    put_on_block(stack)
    assert goes_on(stack, SHUT) == 0.0
    assert goes_on(stack, STAY) == 1.0


@pytest.mark.parametrize("which", (OBJECT, BLOCK))
def test_moving_or_touched_does_not_count(stack: ManipulationEnv, which: int, monkeypatch):
    put_on_block(stack)
    assert goes_on(stack) == 1.0
    assert stack.task.is_solved(stack.physics, stack.goal)
    dof = stack.physics.model.joint(stack.physics.names[which]).dofadr[0]
    speed = stack.physics.data.qvel[dof]
    stack.physics.data.qvel[dof] = 0.05
    assert not stack.task.is_solved(stack.physics, stack.goal)
    stack.physics.data.qvel[dof] = speed
    monkeypatch.setattr(type(stack.physics), "hand_touches_object", lambda self, i=0: i == which)
    assert not stack.task.is_solved(stack.physics, stack.goal)


def test_holding_the_bar_over_the_block_is_not_success():
    with closing(robowm_envs.make("stack", observation="state", split="test")) as env:
        env.reset(seed=2)
        expert, rewards, step = Expert(env), [], None
        while step is None or not step.last():
            action = expert.act()
            position, rotation = env.task.errors(env.physics, env.goal)
            if env.physics.grasped() and position < 0.015 and rotation < 0.15:
                break
            step = env.step(action)
        for _ in range(8):  # down to the block, and hold on
            rewards.append(env.step([0, 0, -0.05, 0, 1]).reward)
            assert env.physics.grasped() and env.metrics()["success"] == 0.0
        assert env.physics.objects_touch(OBJECT, BLOCK)
        step = env.step(STAY)
        while not step.last():
            step = env.step(expert.act())
        assert env.metrics()["success"] == 1.0
        assert step.reward > max(rewards) + 0.1


def test_the_bar_lies_still_on_the_block_however_it_is_turned():
    """Two boxes across each other can shake for ever; see objects/bar.py."""
    for split in ("train", "shift_friction"):
        with closing(robowm_envs.make("stack", observation="state", split=split)) as env:
            for seed in range(12):
                env.reset(seed=seed)
                rng = np.random.default_rng(seed)
                put_on_block(env, rng.uniform(-0.012, 0.012, 2))
                dof = env.physics.model.joint("object").dofadr[0]
                env.physics.data.qvel[dof + 2 : dof + 6] = [-0.3, *rng.normal(0, 1, 3)]
                env.physics.forward()
                for step in range(25):
                    env.step(STAY)
                    if step >= 15:
                        speed = np.linalg.norm(env.physics.object_velocity()[3:])
                        assert speed < 0.2, f"{split}, seed {seed}: {speed} rad/s"


# Sort: success is honest


def test_all_bars_at_their_goals_is_success(sort: ManipulationEnv):
    put_at_goals(sort)
    assert goes_on(sort) == 1.0
    assert sort.metrics()["placed"] == 1.0
    assert sort.step(STAY).reward == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize(
    ("offset_m", "turn_deg", "succeeds"),
    ((0.017, 0.0, True), (0.0, 188.0, True), (0.023, 0.0, False), (0.0, 12.0, False)),
)
def test_one_bar_decides(sort, which: int, offset_m: float, turn_deg: float, succeeds: bool):
    put_at_goals(sort)
    put_at_goals(sort, (which,), offset_m, turn_deg)
    assert goes_on(sort) == float(succeeds)
    metrics = sort.metrics()
    assert metrics["placed"] == pytest.approx(1.0 if succeeds else 2 / 3)
    assert metrics["position_error_m"] == pytest.approx(offset_m, abs=2e-3)


def test_sorting_ends_with_an_open_hand(sort: ManipulationEnv):
    put_at_goals(sort)
    assert goes_on(sort, SHUT) == 0.0
    assert goes_on(sort, STAY) == 1.0


@pytest.mark.parametrize("which", range(3))
def test_a_bar_that_moves_or_is_touched_does_not_count(sort, which: int, monkeypatch):
    put_at_goals(sort)
    assert goes_on(sort) == 1.0
    dof = sort.physics.model.joint(sort.physics.names[which]).dofadr[0]
    speed = sort.physics.data.qvel[dof]
    sort.physics.data.qvel[dof] = 0.05
    assert not sort.task.is_solved(sort.physics, sort.goal)
    sort.physics.data.qvel[dof] = speed
    assert sort.task.is_solved(sort.physics, sort.goal)
    monkeypatch.setattr(type(sort.physics), "hand_touches_object", lambda self, i=0: i == which)
    assert not sort.task.is_solved(sort.physics, sort.goal)


def play_in_order(env: ManipulationEnv, order: tuple[int, ...]) -> list[float]:
    """Rewards while the expert sorts in another order than the one told."""
    told, rewards, expert, step = env.goal, [], Expert(env), None
    while step is None or not step.last():
        env.goal = dataclasses.replace(told, order=order)
        action = expert.act()
        env.goal = told
        step = env.step(action)
        rewards.append(step.reward)
    return rewards


def test_another_order_is_remembered_and_is_no_success(sort: ManipulationEnv):
    rewards = play_in_order(sort, sort.goal.order[::-1])
    metrics, state = sort.metrics(), sort.get_state()
    assert metrics["placed"] == 1.0 and metrics["out_of_order"] == 1.0
    assert metrics["success"] == 0.0 and sort.task.is_solved(sort.physics, sort.goal)
    assert max(rewards) <= SPOILT
    with closing(robowm_envs.make("sort", observation="state")) as other:
        other.set_state(state)
        assert other.metrics() == metrics
        np.testing.assert_array_equal(other.get_state(), state)
    sort.reset(seed=2)
    assert sort.metrics()["out_of_order"] == 0.0
    assert max(play_in_order(sort, sort.goal.order)) > 0.99
    assert sort.metrics()["success"] == 1.0 and sort.metrics()["out_of_order"] == 0.0


def test_a_mistaken_expert_takes_the_wrong_bar_and_leaves_the_goal_as_it_was(sort: ManipulationEnv):
    mistaken, right = MistakenExpert(sort), Expert(sort)
    violations = 0
    for seed in range(8):
        sort.reset(seed=seed)
        mistaken.reset()
        goal, differ = sort.goal, 0
        for _ in range(sort.time_limit_steps // 2):
            label, action = right.act(), mistaken.act()
            differ += not np.array_equal(label, action)
            sort.step(action)
            assert sort.goal is goal
        assert differ <= 60
        violations += sort.metrics()["out_of_order"] > 0.5
    assert violations >= 3


def test_pushing_out_of_order_is_allowed(sort: ManipulationEnv):
    """Only what is lifted counts."""
    last = sort.goal.order[-1]
    sort.physics.place_object(sort.physics.object_position(last) + [0.01, 0, 0], 0.3, last)
    sort.physics.forward()
    sort.step(STAY)
    assert sort.metrics()["out_of_order"] == 0.0


def test_doing_less_of_it_earns_less(sort: ManipulationEnv):
    """A third for each bar, in the order told; the last one alone earns next to nothing."""
    first, second, third = sort.goal.order
    earned = []
    for which in ((), (third,), (first,), (first, second), (first, second, third)):
        sort.reset(seed=2)
        put_at_goals(sort, which)
        goes_on(sort, steps=3)
        earned.append(sort.step(STAY).reward)
    nothing, last_alone, one, two, three = earned
    assert last_alone < nothing + 0.05
    assert nothing + 0.15 < one and one + 0.15 < two and two + 0.15 < three
