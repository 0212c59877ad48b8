import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # dm-control brings it

from robowm.evaluation.failures import cause
from robowm.evaluation.metrics import (
    bootstrap_mean,
    paired,
    ranks,
    spearman,
    summarise,
    wilson,
    yaw_error_rad,
)
from robowm.evaluation.rollout import EpisodeResult


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_matches_newcombes_table(successes, trials, low, high):
    interval = wilson(successes, trials)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)
    assert interval.value == successes / trials


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_symmetric_and_holds_the_share(case):
    successes, trials = case
    low, high = wilson(successes, trials)[1:]
    assert 0 <= low <= successes / trials <= high <= 1
    mirrored = wilson(trials - successes, trials)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high))


def test_wilson_knows_nothing_from_nothing():
    value, low, high = wilson(0, 0)
    assert math.isnan(value)
    assert (low, high) == (0, 1)
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)


def test_bootstrap_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_mean(rng.normal(size=40), resamples=300, seed=i) for i in range(300)]
    covered = np.mean([low <= 0 <= high for _, low, high in intervals])
    assert 0.90 <= covered <= 0.98


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=30))
def test_ranks_and_correlation_agree_with_scipy(values):
    other = np.sin(np.arange(len(values)) * 1.7)
    np.testing.assert_allclose(ranks(values), stats.rankdata(values))
    if len(set(values)) > 1:
        assert spearman(values, other) == pytest.approx(stats.spearmanr(values, other).statistic)
    else:
        assert math.isnan(spearman(values, other))


def test_correlation_sees_order_alone():
    x = np.linspace(0.1, 5, 20)
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert spearman(x, -(x**3)) == pytest.approx(-1)


@given(st.floats(-4, 4), st.floats(-4, 4), st.sampled_from([1, 2, 4]), st.floats(0.2, 3))
def test_yaw_error_is_that_of_the_nearest_equal_turn(a, b, order, length):
    def code(yaw):
        return length * np.array([np.sin(order * yaw), np.cos(order * yaw)])

    turn = 2 * np.pi / order
    expected = min(abs(a - b + n * turn) for n in range(-12, 13))
    assert yaw_error_rad(code(a), code(b), order) == pytest.approx(expected, abs=1e-6)


def result(seed, success, latched=True, rotation=math.nan, dropped=None, ms=(1.0, 3.0)):
    return EpisodeResult(
        seed=seed,
        episode_return=2.0 * seed,
        success=success,
        latched_success=latched,
        position_error_m=0.01 * (seed + 1),
        rotation_error_rad=rotation,
        position_fits=success,
        rotation_fits=success,
        grasped=True,
        lifted=success,
        dropped=dropped,
        steps=len(ms),
        latency_ms=np.array(ms),
        actions=np.zeros((len(ms), 3), np.float32),
    )


def test_summary_adds_up():
    summary = summarise([result(0, True), result(1, False), result(2, True), result(3, True)])
    assert summary["episodes"] == 4
    assert (summary["success"], summary["latched_success"], summary["lifted"]) == (0.75, 1, 0.75)
    assert summary["success_low"] < 0.75 < summary["success_high"]
    assert summary["position_error_cm"] == pytest.approx(2.5)
    assert summary["rotation_error_deg"] is None
    assert summary["dropped"] is None
    assert summary["return"] == 3
    assert summary["ms_per_action"] == 2
    assert [row["seed"] for row in summary["episode_results"]] == [0, 1, 2, 3]
    assert "actions" not in summary["episode_results"][0]


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ({"success": True, "entered": True}, None),
        ({"entered": True, "grasped": False}, "entered what is kept out of"),
        ({"out_of_order": True, "position_fits": True}, "out of order"),
        ({"grasped": False}, "never grasped"),
        ({"position_fits": True, "rotation_fits": True}, "in place, but not let go or not at rest"),
        ({"dropped": True}, "dropped"),
        ({}, "never lifted"),
        ({"lifted": True, "rotation_fits": True}, "off its place"),
        ({"lifted": True, "position_fits": True}, "turned wrong"),
        ({"lifted": True}, "off its place and turned wrong"),
        ({"grasped": None, "lifted": None, "rotation_fits": True}, "off its place"),
    ],
)
def test_the_cause_of_a_failure_is_what_was_missing_first(happened, expected):
    episode = dataclasses.replace(result(0, False), **happened)
    assert cause(episode) == expected
    assert summarise([episode])["causes"] == ({} if expected is None else {expected: 1})


def test_degrees_and_missing_rotations():
    summary = summarise([result(0, True, rotation=math.pi / 6), result(1, True)])
    assert summary["rotation_error_deg"] == pytest.approx(30)


def test_pairs_count_the_seeds_that_both_ran():
    first = [result(0, True), result(1, True), result(2, False), result(3, False), result(9, True)]
    other = [result(0, True), result(1, False), result(2, True), result(3, False)]
    counts = {"both": 1, "only_first": 1, "only_other": 1, "neither": 1}
    assert paired(first, other) == counts
