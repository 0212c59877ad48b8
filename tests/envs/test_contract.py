"""What every task promises. Registering a task is enough to have it held to this."""

from __future__ import annotations

from contextlib import closing

import dm_env
import numpy as np
import pytest

import robowm_envs
from robowm_envs import randomise
from robowm_envs.env import ManipulationEnv
from robowm_envs.errors import EnvError
from robowm_envs.expert import Expert

every_task = pytest.mark.parametrize("task", robowm_envs.TASKS)
every_mode = pytest.mark.parametrize("observation", ("pixels", "state"))


def small(task: str, observation: str = "state", **options) -> closing[ManipulationEnv]:
    return closing(robowm_envs.make(task, observation=observation, image_size=16, **options))


def size(env: ManipulationEnv) -> int:
    return env.action_spec().shape[0]


def low_actions(env: ManipulationEnv, n: int, seed: int = 0) -> np.ndarray:
    """Random, but mostly down: to where there is something to touch."""
    actions = np.random.default_rng(seed).uniform(-1, 1, (n, size(env))).astype(np.float32)
    actions[: n // 3, 2] = -np.abs(actions[: n // 3, 2])
    return actions


def assert_equal(a: dm_env.TimeStep, b: dm_env.TimeStep) -> None:
    assert (a.step_type, a.reward, a.discount) == (b.step_type, b.reward, b.discount)
    assert a.observation.keys() == b.observation.keys()
    for name in a.observation:
        np.testing.assert_array_equal(a.observation[name], b.observation[name], err_msg=name)


@every_task
@every_mode
def test_keeps_to_its_specs(task: str, observation: str):
    with small(task, observation) as env:
        step = env.reset(seed=0)
        images = {name for name in step.observation if name.startswith("image_")}
        assert images == ({"image_front", "image_wrist"} if observation == "pixels" else set())
        for action in [None, *low_actions(env, 15)]:
            step = step if action is None else env.step(action)
            assert step.observation.keys() == env.observation_spec().keys()
            for name, spec in env.observation_spec().items():
                spec.validate(step.observation[name])
                assert np.isfinite(spec.minimum).all() and (spec.minimum < spec.maximum).all()
            privileged = env.privileged()
            assert privileged.keys() == env.privileged_spec().keys()
            for name, spec in env.privileged_spec().items():
                spec.validate(privileged[name])
            assert all(np.isfinite(value) for value in env.metrics().values())
            assert action is None or 0.0 <= step.reward <= 1.0


@every_task
def test_says_what_its_actions_are(task: str):
    with small(task) as env:
        spec = env.action_spec()
        assert spec.name.split("\t") == (
            ["dx_m", "dy_m", "dz_m", "drx_rad", "dry_rad", "drz_rad", "gripper"]
            if task == "reorient"
            else ["dx_m", "dy_m", "dz_m", "dyaw_rad", "gripper"]
        )
        assert spec.shape == env.action_scale.shape
        assert (spec.minimum == -1).all() and (spec.maximum == 1).all()


@every_task
@every_mode
def test_same_seed_and_actions_give_the_same_to_the_bit(task: str, observation: str):
    groups = randomise.GROUPS
    with (
        small(task, observation, randomise=groups) as one,
        small(task, observation, randomise=groups) as other,
    ):
        other.reset(seed=9)
        for action in low_actions(one, 5, seed=9):  # a past must not show
            other.step(action)
        assert_equal(one.reset(seed=4), other.reset(seed=4))
        for action in low_actions(one, 30):
            assert_equal(one.step(action), other.step(action))
            assert one.metrics() == other.metrics()
        np.testing.assert_array_equal(one.get_state(), other.get_state())


@every_task
def test_a_state_put_back_goes_on_as_it_did(task: str):
    groups = randomise.GROUPS
    with (
        small(task, "pixels", randomise=groups) as one,
        small(task, "pixels", randomise=groups) as other,
    ):
        one.reset(seed=4)
        expert = Expert(one)
        for _ in range(12):  # as far as the object, where there are contacts to restore
            one.step(expert.act())
        state = one.get_state()
        other.reset(seed=5)
        other.set_state(state)
        np.testing.assert_array_equal(other.get_state(), state)
        for name, array in one.privileged().items():
            np.testing.assert_array_equal(other.privileged()[name], array)
        for action in low_actions(one, 12):
            assert_equal(one.step(action), other.step(action))
            assert one.metrics() == other.metrics()


@every_task
def test_other_seeds_and_splits_are_other_episodes(task: str):
    starts = []
    for split in ("train", "validation", "test", "shift_pose"):
        with small(task, split=split) as env:
            starts += [env.reset(seed=seed).observation["object"] for seed in (0, 1)]
    assert len({start.tobytes() for start in starts}) == len(starts)


@every_task
def test_reset_without_a_seed_counts_on(task: str):
    with small(task, seed=3) as env:
        first, second = env.reset(), env.reset()
        assert_equal(env.reset(seed=3), first)
        assert_equal(env.reset(), second)


@every_task
@every_mode
def test_no_observation_is_constant(task: str, observation: str):
    # With sizes drawn too: the goal's height follows the bar's.
    with small(task, observation, randomise=randomise.GROUPS) as env:
        seen: dict[str, list[np.ndarray]] = {name: [] for name in env.observation_spec()}
        rng, expert = np.random.default_rng(0), Expert(env)
        for seed in range(4):
            step = env.reset(seed=seed)
            while not step.last() and (observation == "state" or len(seen["goal"]) < 60):
                for name, array in step.observation.items():
                    seen[name].append(array)
                noise = np.append(rng.normal(0, 0.3, size(env) - 1), 0.0)
                step = env.step(np.clip(expert.act() + noise, -1, 1))
            for name, array in step.observation.items():
                seen[name].append(array)
    for name, arrays in seen.items():
        spread = np.ptp(np.stack(arrays).astype(np.float64), axis=0)
        if name.startswith("image_"):
            assert (spread > 0).mean() > 0.3, f"{name}: most pixels never change"
        else:
            assert (spread > 0).all(), (
                f"{name}: elements {np.flatnonzero(spread == 0)} are constant"
            )


@every_task
@every_mode
def test_returned_arrays_are_the_callers_own(task: str, observation: str):
    with small(task, observation) as env:
        steps = [env.reset(seed=0), *(env.step(action) for action in low_actions(env, 3))]
        kept = [{name: array.copy() for name, array in s.observation.items()} for s in steps]
        privileged, state = env.privileged(), env.get_state()
        arrays = [array for step in steps for array in step.observation.values()]
        arrays += [*privileged.values(), *env.privileged().values(), state, env.get_state()]
        for i, a in enumerate(arrays):
            assert not any(np.shares_memory(a, b) for b in arrays[:i])
        for array in [*privileged.values(), state]:
            array[...] = 0
        env.step(low_actions(env, 1)[0])
        for step, copy in zip(steps, kept, strict=True):
            for name, array in step.observation.items():
                np.testing.assert_array_equal(array, copy[name])


@every_task
@pytest.mark.parametrize("split", ("train", "shift_all"))
def test_no_episode_begins_solved(task: str, split: str):
    with small(task, split=split, randomise=randomise.GROUPS) as env:
        for seed in range(50):
            env.reset(seed=seed)
            assert not env.task.is_solved(env.physics, env.goal), f"seed {seed}"
            assert not env.task.is_lost(env.physics), f"seed {seed}"
            assert env.metrics()["success"] == 0.0


@every_task
def test_random_actions_and_doing_nothing_do_not_succeed(task: str):
    with small(task, split="test") as env:
        rng, nothing = np.random.default_rng(0), np.append(np.zeros(size(env) - 1), -1.0)
        for seed in range(4):
            step = env.reset(seed=seed)
            while not step.last():
                step = env.step(rng.uniform(-1, 1, size(env)) if seed % 2 else nothing)
                assert env.metrics()["success"] == 0.0, f"seed {seed}"


@every_task
def test_ends_at_the_time_limit_without_being_terminal(task: str):
    with small(task) as env:
        env.reset(seed=0)
        steps = [env.step(np.zeros(size(env))) for _ in range(env.time_limit_steps)]
        assert not any(step.last() for step in steps[:-1])
        assert steps[-1].last() and steps[-1].discount == 1.0
        assert env.step(
            np.zeros(size(env))
        ).first()  # dm_env's rule: the step after the last resets


@pytest.mark.parametrize("task", [name for name, task in robowm_envs.TASKS.items() if task.things])
@pytest.mark.parametrize("place", ((0.95, 0.0, -0.2), (0.20, 0.30, 0.02)))
def test_an_object_out_of_reach_ends_the_episode(task: str, place: tuple[float, ...]):
    with small(task) as env:
        env.reset(seed=0)
        env.physics.place_object(np.array(place), 0.0)
        env.physics.forward()
        step = env.step(np.zeros(size(env)))
        assert step.last() and step.discount == 0.0


@every_task
@pytest.mark.parametrize(
    ("make", "says"),
    (
        (lambda n: np.zeros(n - 1), "shape"),
        (lambda n: np.zeros((1, n)), "shape"),
        (lambda n: [0, np.nan, *[0] * (n - 2)], "dy_m"),
        (lambda n: [*[0] * (n - 1), np.inf], "gripper"),
        (lambda n: [1.5, *[0] * (n - 1)], "-1, 1"),
    ),
)
def test_an_action_that_is_none_is_refused_and_changes_nothing(task, make, says):
    with small(task) as env:
        env.reset(seed=0)
        before = env.get_state()
        with pytest.raises(EnvError, match=says):
            env.step(make(size(env)))
        np.testing.assert_array_equal(env.get_state(), before)


def random_walk(task: str, steps: int) -> None:
    with small(task, randomise=randomise.GROUPS, split="shift_all") as env:
        rng, step = np.random.default_rng(1), env.reset()
        for _ in range(steps):
            if step.last():
                step = env.reset()
            # Held for a while, so that the hand arrives at corners and presses on things.
            if rng.random() < 0.2 or step.first():
                action = rng.choice([-1.0, 1.0], size(env)) * rng.uniform(0.3, 1.0, size(env))
            step = env.step(action)
            assert np.isfinite(env.get_state()).all()
            assert 0.0 <= step.reward <= 1.0
        warnings = env.physics.data.warning
        assert not any(w.number for w in warnings), "the simulator had something to complain about"


@every_task
def test_stays_finite_under_random_actions(task: str):
    random_walk(task, 300)


@pytest.mark.slow
@every_task
def test_stays_finite_under_ten_thousand_random_actions(task: str):
    random_walk(task, 10_000)


@pytest.mark.parametrize(
    ("options", "says"),
    (
        ({"task": "grasp_rotate_plaice"}, "grasp_rotate_place"),
        ({"split": "shift_frction"}, "shift_friction"),
        ({"observation": "pixel"}, "pixels"),
        ({"cameras": ("wirst",)}, "wrist"),
        ({"randomise": ("masses",)}, "mass"),
        ({"arm": "pandas"}, "panda"),
        ({"image_size": 3}, "image_size"),
    ),
)
def test_unknown_names_are_answered_with_the_near_ones(options: dict, says: str):
    with pytest.raises(EnvError, match=says) as caught:
        robowm_envs.make(**({"task": "reach"} | options))
    assert caught.value.exit_code == 2


def test_a_state_of_another_task_is_refused():
    with small("reach") as reach, small("grasp") as grasp:
        reach.reset(seed=0)
        grasp.reset(seed=0)
        with pytest.raises(EnvError, match="shape"):
            reach.set_state(grasp.get_state())


def test_pressing_on_the_table_does_not_wind_up():
    with small("reach") as env:
        env.reset(seed=0)
        for _ in range(25):
            env.step([0, 0, -1, 0, 1])
        height = env.physics.hand_position()[2]
        assert height > 0.008, "the fingers went through the table"
        env.step([0, 0, 1, 0, 1])
        env.step([0, 0, 1, 0, 1])
        assert env.physics.hand_position()[2] > height + 0.05
