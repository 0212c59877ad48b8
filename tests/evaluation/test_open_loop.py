import dataclasses

import numpy as np
import pytest

from robowm.errors import UserError
from robowm.evaluation.open_loop import (
    OpenLoopConfig,
    RankingConfig,
    decoded_images,
    imagine,
    pose_errors,
    posterior_states,
    rank_candidates,
)

from . import toys

SPEC = toys.spec()
EPISODES = [toys.episode(seed) for seed in range(4)]


def curve(errors, quantity, name, statistic="mean"):
    return np.array(errors[quantity][name][statistic])


def test_an_exact_model_errs_nowhere():
    # Actions that change at every step: one that is late or early by a step would show.
    wild = np.random.default_rng(0).uniform(-1, 1, (2, 12, 3))
    episodes = [toys.episode(seed, action) for seed, action in enumerate(wild)]
    errors = pose_errors(toys.PointModel(), [*EPISODES, *episodes], SPEC)
    for quantity in ("position_cm", "rotation_deg"):
        np.testing.assert_allclose(curve(errors, quantity, "imagined"), 0, atol=1e-4)
        np.testing.assert_allclose(curve(errors, quantity, "posterior"), 0, atol=1e-4)


def test_drift_grows_by_the_step_and_the_floor_does_not():
    errors = pose_errors(toys.PointModel(drift_m=0.003), EPISODES, SPEC)
    steps = np.array(errors["horizon"])
    np.testing.assert_allclose(curve(errors, "position_cm", "imagined"), 0.3 * steps, rtol=1e-3)
    np.testing.assert_allclose(curve(errors, "position_cm", "posterior"), 0, atol=1e-4)


def test_the_ceiling_is_how_far_the_object_went():
    # A step moves it by half a step east and a quarter north; its yaw follows the northing.
    errors = pose_errors(toys.PointModel(), EPISODES, SPEC)
    steps = np.array(errors["horizon"])
    north_m = 0.25 * toys.STEP_M
    went_cm = 100 * np.hypot(0.5 * toys.STEP_M, north_m) * steps
    np.testing.assert_allclose(curve(errors, "position_cm", "copy_last"), went_cm, rtol=1e-4)
    turned = np.degrees(north_m * steps)
    np.testing.assert_allclose(curve(errors, "rotation_deg", "copy_last"), turned, rtol=1e-3)


def test_starts_and_horizons_are_those_the_episodes_hold():
    errors = pose_errors(toys.PointModel(), EPISODES, SPEC, OpenLoopConfig(context=5, stride=4))
    # Five observations are seen at t = 4; of 12 steps, 8 are left from there and 4 from t = 8.
    assert errors["horizon"] == list(range(1, 9))
    assert errors["starts"] == 8
    assert errors["pairs"] == [8] * 4 + [4] * 4
    capped = pose_errors(toys.PointModel(), EPISODES, SPEC, OpenLoopConfig(horizon=3))
    assert capped["horizon"] == [1, 2, 3]


def test_moved_counts_only_where_the_object_moved():
    still = [toys.episode(seed, action=(0.0, 0.0, 1.0)) for seed in range(2)]
    errors = pose_errors(toys.PointModel(), EPISODES + still, SPEC, OpenLoopConfig(stride=100))
    assert errors["pairs"][0] == 6
    assert errors["moved"]["pairs"] == [0] + [4] * 7  # 1.1 cm after a step, 2.2 after two
    assert errors["moved"]["position_cm"]["copy_last"]["mean"][0] is None


def test_imagining_continues_from_the_belief():
    states = posterior_states(toys.PointModel(), EPISODES[0])
    assert len(states) == 13
    dreamt = imagine(toys.PointModel(), states[4], EPISODES[0].actions[None, 4:])
    np.testing.assert_allclose(
        [s["position"][0].numpy() for s in dreamt],
        EPISODES[0].observations["proprio"][5:],
        atol=1e-6,
    )


def test_too_short_episodes_and_a_blind_model_are_said():
    with pytest.raises(UserError, match="no episode is longer than the context of 20"):
        pose_errors(toys.PointModel(), EPISODES, SPEC, OpenLoopConfig(context=20))
    with pytest.raises(UserError, match="estimates the object's pose"):
        pose_errors(object(), EPISODES, SPEC)
    with pytest.raises(UserError, match="decodes no pictures"):
        decoded_images(object(), [], "image_front")


RANKING = RankingConfig(starts=5, candidates=16, horizon=4)


def test_an_exact_model_ranks_as_the_simulator_does():
    ranking = rank_candidates(toys.PointModel(), toys.make_env, EPISODES, RANKING)
    np.testing.assert_allclose(ranking.correlations, 1, atol=0.02)
    assert len(ranking.correlations) == 5
    assert ranking.tied == 0


def test_both_returns_are_discounted_alike():
    first_step_alone = dataclasses.replace(RANKING, discount=0.0)
    ranking = rank_candidates(toys.PointModel(), toys.make_env, EPISODES, first_step_alone)
    np.testing.assert_allclose(ranking.correlations, 1, atol=0.02)


def test_a_model_that_has_it_backwards_ranks_backwards():
    ranking = rank_candidates(toys.Reversed(), toys.make_env, EPISODES, RANKING)
    assert ranking.mean.high < -0.95


def test_ranking_is_the_same_for_the_same_seed():
    first, again = (
        rank_candidates(toys.PointModel(0.01), toys.make_env, EPISODES, RANKING) for _ in range(2)
    )
    assert first == again
    other = dataclasses.replace(RANKING, seed=1)
    model = toys.PointModel(0.03)
    assert rank_candidates(model, toys.make_env, EPISODES, other) != rank_candidates(
        model, toys.make_env, EPISODES, RANKING
    )


def test_starts_whose_candidates_all_return_the_same_are_left_out():
    class Flat(toys.PointEnv):
        def step(self, action):
            return super().step(action)._replace(reward=0.0)

    flat = [toys.episode(seed) for seed in range(4)]
    for episode in flat:
        episode.rewards[:] = 0
    ranking = rank_candidates(toys.PointModel(), Flat, flat, RANKING)
    assert (ranking.correlations, ranking.tied) == ([], 5)


def test_a_scene_that_is_not_the_recorded_one_is_noticed():
    class Elsewhere(toys.PointEnv):
        goal_m = 0.3

    with pytest.raises(UserError, match="does not play seed"):
        rank_candidates(toys.PointModel(), Elsewhere, EPISODES, RANKING)


def test_ranking_without_states_is_refused():
    bare = toys.episode(0)
    bare.states = np.zeros((0, 3))
    with pytest.raises(UserError, match="no episode has simulator states"):
        rank_candidates(toys.PointModel(), toys.make_env, [bare], RANKING)


def test_decoded_images_are_pictures():
    states = posterior_states(toys.PointModel(), EPISODES[0])
    pictures = decoded_images(toys.PointModel(), states, "image_front")
    np.testing.assert_array_equal(pictures, EPISODES[0].observations["image_front"])
