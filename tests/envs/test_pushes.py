"""Pushes: once, at a moment that follows from the episode, and the expert recovers."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

import robowm_envs
from robowm_envs.errors import EnvError
from robowm_envs.expert import Expert
from robowm_envs.pushes import LASTS_STEPS, STEPS, draw_push


def make(push: str):
    return closing(robowm_envs.make("grasp_rotate_place", observation="state", push=push))


def test_a_push_follows_from_the_episode_alone() -> None:
    assert draw_push("object", 7) == draw_push("object", 7) != draw_push("object", 8)
    assert {draw_push("arm", n).step for n in range(500)} == set(range(STEPS[0], STEPS[1] + 1))


@pytest.mark.parametrize("kind", ("object", "arm"))
def test_nothing_differs_before_it_and_something_after(kind: str) -> None:
    with make("none") as calm, make(kind) as pushed:
        seed = next(n for n in range(99) if draw_push(kind, n).step == 10)
        a, b = calm.reset(seed=seed), pushed.reset(seed=seed)
        still = np.array([0, 0, 0, 0, -1], np.float32)
        for step in range(10 + LASTS_STEPS + 3):
            same = all(np.array_equal(a.observation[k], b.observation[k]) for k in a.observation)
            assert same == (step <= 10), step
            a, b = calm.step(still), pushed.step(still)
        assert not pushed.physics.data.xfrc_applied.any()  # it ends


@pytest.mark.parametrize("kind", ("object", "arm"))
def test_the_expert_recovers(kind: str) -> None:
    with make(kind) as env:
        expert, successes = Expert(env), 0
        for seed in range(4):
            step = env.reset(seed=seed)
            while not step.last():
                step = env.step(expert.act())
            successes += env.metrics()["success"] > 0.5
    assert successes == 4


def test_a_state_put_back_goes_on_through_the_push() -> None:
    with make("arm") as one, make("arm") as other:
        seed = next(n for n in range(99) if draw_push("arm", n).step == 8)
        one.reset(seed=seed)
        still = np.array([0, 0, 0, 0, -1], np.float32)
        for _ in range(9):
            one.step(still)
        other.reset(seed=seed + 1)
        other.set_state(one.get_state())
        for _ in range(LASTS_STEPS + 2):
            one.step(still)
            other.step(still)
        np.testing.assert_array_equal(one.get_state(), other.get_state())


def test_an_unknown_push_is_a_sentence() -> None:
    with pytest.raises(EnvError, match="object"):
        robowm_envs.make("reach", push="objct")
