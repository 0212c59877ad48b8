"""Labels from the grasp: against the truth of an expert's episode, and where the hand tells nothing."""

import numpy as np
import pytest

import robowm_envs
from robowm.data.grasp_labels import grasp_labels
from robowm.errors import UserError
from robowm.spec import POSITION, YAW, TaskSpec
from robowm_envs.expert import Expert


@pytest.fixture(scope="module")
def episode():
    """Observations and truth of an expert's episode, from the true state."""
    env = robowm_envs.make("grasp_rotate_place", observation="state", split="test")
    expert = Expert(env)
    step = env.reset(seed=3)
    expert.reset()
    proprio, truth = [step.observation["proprio"]], [env.privileged()]
    while not step.last():
        step = env.step(expert.act(step.observation))
        proprio.append(step.observation["proprio"])
        truth.append(env.privileged())
    spec = TaskSpec.from_env(env)
    env.close()
    return spec, np.stack(proprio), {k: np.stack([t[k] for t in truth]) for k in truth[0]}


def test_the_hand_tells_where_the_bar_lay_is_and_will_lie(episode):
    spec, proprio, truth = episode
    told = grasp_labels({"proprio": proprio}, spec)
    known = np.isfinite(told[POSITION]).all(1)
    assert known.mean() > 0.85 and known[0] and known[-1]
    off = np.linalg.norm(told[POSITION] - truth[POSITION], axis=1)[known]
    assert np.median(off) < 0.012 and np.quantile(off, 0.9) < 0.03
    cosine = (told[YAW] * truth[YAW]).sum(1)[known]  # of twice the angle
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 20
    assert all(told[name].dtype == np.float32 for name in told)
    assert np.isnan(told["contact"]).all()  # which no hand feels


def test_where_nothing_was_grasped_nothing_is_told(episode):
    spec, proprio, _ = episode
    open_hand = proprio.copy()
    open_hand[:, spec.hand_in_proprio + 9] = 0.08
    assert all(
        np.isnan(array).all() for array in grasp_labels({"proprio": open_hand}, spec).values()
    )


def test_what_was_dropped_is_lost(episode):
    spec, proprio, _ = episode
    held = np.isfinite(grasp_labels({"proprio": proprio}, spec)[POSITION][:, 0])
    at = spec.hand_in_proprio
    up = int(np.argmax(proprio[:, at + 2] * (proprio[:, at + 10] > 0.5)))  # carried, high up
    dropped = proprio.copy()
    dropped[up:, at + 9], dropped[up:, at + 10] = 0.08, -1.0
    told = grasp_labels({"proprio": dropped}, spec)[POSITION][:, 0]
    assert held[up + 5] and np.isnan(told[up + 1 :]).all() and np.isfinite(told[: up - 1]).all()


def test_a_task_whose_object_is_not_one_bar_is_refused():
    env = robowm_envs.make("sort", observation="state")
    with pytest.raises(UserError, match=r"replay\.labels=simulator"):
        grasp_labels({"proprio": np.zeros((5, 25), np.float32)}, TaskSpec.from_env(env))
    env.close()
