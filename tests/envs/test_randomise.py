"""Ranges to train on and beyond them never meet, and what is drawn is what is simulated."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

import robowm_envs
from robowm_envs import randomise
from robowm_envs.expert import Expert
from robowm_envs.randomise import RANGES, Draw, draw_conditions
from robowm_envs.tasks.base import AREA_HIGH_M, AREA_LOW_M

overrides = {task.name: task.ranges for task in robowm_envs.TASKS.values()}
ranges = {
    f"{task}-{name}": own.get(name, usual)
    for task, own in overrides.items()
    for group in RANGES.values()
    for name, usual in group.items()
}


def inside(value: float, intervals: randomise.Intervals) -> bool:
    return any(low <= value <= high for low, high in intervals)


@pytest.mark.parametrize("name", ranges)
def test_train_and_shift_are_disjoint(name: str):
    for a_low, a_high in ranges[name].train:
        for b_low, b_high in ranges[name].shift:
            assert a_low < a_high and b_low < b_high
            assert a_high < b_low or b_high < a_low


@pytest.mark.parametrize("task", robowm_envs.TASKS)
@pytest.mark.parametrize("group", RANGES)
def test_a_shift_split_shifts_its_group_alone(task: str, group: str):
    own = overrides[task]
    for episode in range(20):
        draw = Draw(f"shift_{group}", episode, randomise.GROUPS)
        conditions = draw_conditions(draw, own)
        for other, members in RANGES.items():
            for name, usual in members.items():
                chosen = own.get(name, usual)
                allowed = chosen.shift if other == group else chosen.train
                assert inside(conditions[name], allowed), f"{name} in split shift_{group}"


def test_groups_do_not_disturb_each_other():
    everything = draw_conditions(Draw("train", 7, randomise.GROUPS), {})
    for group, members in RANGES.items():
        alone = draw_conditions(Draw("train", 7, (group,)), {})
        for name in members:
            assert alone[name] == everything[name]
        off = [(n, r) for g, rs in RANGES.items() if g != group for n, r in rs.items()]
        assert all(alone[name] == usual.nominal for name, usual in off)


def test_positions_are_drawn_inside_for_training_and_in_the_frame_around_it_for_the_shift():
    for split, within in (("train", True), ("validation", True), ("shift_pose", False)):
        with closing(robowm_envs.make("grasp", observation="state", split=split)) as env:
            for seed in range(20):
                env.reset(seed=seed)
                place = env.physics.object_position()[:2]
                assert (((place >= AREA_LOW_M) & (place <= AREA_HIGH_M)).all()) == within


def test_without_poses_every_episode_starts_the_same():
    options = {"observation": "state", "randomise": ()}
    with closing(robowm_envs.make("grasp_rotate_place", **options)) as env:
        one, other = env.reset(seed=0).observation, env.reset(seed=1).observation
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_what_is_drawn_is_what_is_simulated():
    with closing(robowm_envs.make("slip", observation="state", randomise=randomise.GROUPS)) as env:
        for seed in range(5):
            env.reset(seed=seed)
            model, c, thing = env.physics.model, env.conditions(), env.task.things[0]
            body, geom = model.body("object").id, model.geom("object").id
            assert model.geom_friction[geom, 0] == c["friction"]
            assert model.body_mass[body] == pytest.approx(thing.mass_kg * c["mass_scale"])
            assert model.body_ipos[body, 0] == c["com_offset_m"]
            half = env.physics.object_half_size()
            assert half[0] == pytest.approx(thing.half_size_m[0] * c["length_scale"])
            assert half[1] == half[2], "the section stays a square"
            # The broad phase must know the size too, or ends of the bar would sink into things.
            assert model.geom_rbound[geom] == pytest.approx(np.linalg.norm(half))
            bottom = env.physics.object_position()[2] - half[2]
            assert bottom == pytest.approx(0.0, abs=1e-9)


def test_a_longer_bar_touches_with_all_of_its_length():
    """The collision bounds follow the size: the far end of a long bar still rests on the table."""
    with closing(robowm_envs.make("grasp", observation="state", split="shift_size")) as env:
        for seed in range(10):
            env.reset(seed=seed)
            for _ in range(3):
                env.step(np.array([0, 0, 0, 0, -1]))
            up = env.physics.object_rotation()[2, 2]
            assert up > 0.9999
            assert env.physics.object_on_table()


def test_the_off_centre_bar_turns_in_the_grasp_and_the_even_one_does_not():
    """What ``slip`` is for: lifted by its middle, it tilts or slides in the fingers."""

    def tilt(task: str, seed: int) -> float:
        with closing(robowm_envs.make(task, observation="state", split="test")) as env:
            env.reset(seed=seed)
            worst, expert = 0.0, Expert(env)
            for _ in range(25):
                env.step(expert.act())
                if env.physics.grasped():
                    worst = max(worst, abs(env.physics.object_rotation()[2, 0]))
            return float(np.rad2deg(np.arcsin(worst)))

    even = [tilt("grasp_rotate_place", seed) for seed in range(4)]
    off = [tilt("slip", seed) for seed in range(4)]
    assert np.mean(even) < 2.0 and np.mean(off) > 8.0, (even, off)
