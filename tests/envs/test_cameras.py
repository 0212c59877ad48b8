"""Pictures are an environment's own, whoever else draws in the process, or ceases to."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest

import robowm_envs
from robowm_envs.env import ManipulationEnv


def drawing(task: str) -> ManipulationEnv:
    env = robowm_envs.make(task, image_size=32)
    env.reset(seed=0)
    return env


@pytest.fixture
def env() -> Iterator[ManipulationEnv]:
    with closing(drawing("grasp_rotate_place")) as env:
        yield env


def close(others: list[ManipulationEnv]) -> None:
    while others:
        others.pop().close()


def forget(others: list[ManipulationEnv]) -> None:
    others.clear()
    gc.collect()


def forget_in_a_cycle(others: list[ManipulationEnv]) -> None:
    for other in others:
        other.itself = other
    forget(others)


@pytest.mark.parametrize(
    ("end", "older"), ((close, True), (close, False), (forget, True), (forget_in_a_cycle, False))
)
def test_the_end_of_others_does_not_show(end: Callable, older: bool):
    others = [drawing("grasp"), drawing("reach")] if older else []
    with closing(drawing("grasp_rotate_place")) as env:
        others = others or [drawing("grasp"), drawing("reach")]
        before = [env.render("front"), env.render("wrist"), env.render("front", (48, 40))]
        end(others)
        for _ in range(2):
            after = [env.render("front"), env.render("wrist"), env.render("front", (48, 40))]
            for a, b in zip(after, before, strict=True):
                np.testing.assert_array_equal(a, b)


def test_an_environment_draws_again_after_close(env: ManipulationEnv):
    before = env.render("front")
    env.close()
    np.testing.assert_array_equal(env.render("front"), before)


def test_environments_in_turn_draw_as_each_alone(env: ManipulationEnv):
    alone = env.render("front")
    with closing(drawing("reach")) as other:
        others = other.render("front")
        assert (others != alone).any()
        for _ in range(2):
            np.testing.assert_array_equal(env.render("front"), alone)
            np.testing.assert_array_equal(other.render("front"), others)


def test_a_larger_picture_is_the_same_scene_in_more_pixels(env: ManipulationEnv):
    small, large = env.render("front").astype(float), env.render("front", (128, 128)).astype(float)
    averaged = large.reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(small - averaged).mean() < 6.0


def test_a_picture_is_the_right_way_up_and_in_the_right_colours(env: ManipulationEnv):
    """The bar, red, on the upper (far) or the lower (near) half as it lies far or near; floor above."""
    for x, half in ((0.40, slice(0, 16)), (0.62, slice(16, 32))):
        env.physics.place_object(np.array([x, 0.0, 0.02]), 0.0)
        env.physics.forward()
        image = env.render("front").astype(int)
        red = (image[..., 0] > 110) & (image[..., 0] > 2.5 * image[..., 1:].max(-1))
        assert red.sum() >= 4 and red[half].sum() > 0.8 * red.sum(), (x, red.sum(1))
    top, bottom = image[0].mean(0), image[-1].mean(0)
    assert top[2] > top[0] and bottom[0] > bottom[2], "a blue floor behind, a brown table in front"
