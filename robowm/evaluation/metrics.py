"""Numbers from episodes: proportions with intervals, rank correlation, angles under symmetry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robowm.evaluation.failures import causes
from robowm.spec import ROTATION, YAW

# What may happen in an episode, whose share is told where a task knows it.
FLAGS = ("grasped", "lifted", "dropped", "entered", "out_of_order")

if TYPE_CHECKING:
    from robowm.evaluation.rollout import EpisodeResult


class Interval(NamedTuple):
    """An estimate and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """A proportion and its Wilson score interval (Wilson 1927), which stays honest at 0 and 1.

    Nothing is known from no trials: the value is NaN and the interval [0, 1].
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials: expected between 0 and all")
    if trials == 0:
        return Interval(float("nan"), 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    # At 0 and at all successes the bound is exact; rounding must not put it beyond the share.
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def bootstrap_mean(
    values: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The mean of ``values`` [N] and its percentile bootstrap interval; NaN from no values."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    index = np.random.default_rng(seed).integers(sample.size, size=(resamples, sample.size))
    tail = (1 - confidence) / 2
    low, high = np.quantile(sample[index].mean(axis=1), [tail, 1 - tail])
    return Interval(float(sample.mean()), float(low), float(high))


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of ``a`` and ``b`` [N]; NaN where either is constant."""
    first, second = ranks(a), ranks(b)
    if first.shape != second.shape:
        raise ValueError(f"rank correlation of {first.shape} with {second.shape} values")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def yaw_error_rad(estimate: ArrayLike, truth: ArrayLike, order: int) -> NDArray[np.float64]:
    """Absolute yaw error modulo the symmetry, in [0, pi / order].

    Both arguments are ``(sin k yaw, cos k yaw)`` [..., 2] with k = ``order``; they need not have
    unit length.
    """
    estimate, truth = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    difference = np.arctan2(estimate[..., 0], estimate[..., 1]) - np.arctan2(
        truth[..., 0], truth[..., 1]
    )
    return np.abs(np.arctan2(np.sin(difference), np.cos(difference))) / order


def axis_error_rad(estimate: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Angle in [0, pi] between directions [..., 3], which need not have unit length."""
    estimate, truth = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    sine = np.linalg.norm(np.cross(estimate, truth), axis=-1)
    return np.arctan2(sine, (estimate * truth).sum(-1))


def rotation_error_rad(
    pose: Mapping[str, ArrayLike], truth: Mapping[str, ArrayLike], order: int
) -> NDArray[np.float64] | None:
    """Error of the object's yaw or of its axis, whichever the pose has; None where it has neither."""
    if YAW in truth:
        return yaw_error_rad(pose[YAW], truth[YAW], order)
    if ROTATION in truth:
        return axis_error_rad(pose[ROTATION], truth[ROTATION])
    return None


def summarise(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """What the episodes of one agent came to, as plain data for JSON.

    Shares are in [0, 1], errors are means over episodes in cm and degrees (medians beside them),
    latencies are over all actions. None stands where the task has no such quantity.
    """
    success = wilson(sum(r.success for r in results), len(results))
    latched = wilson(sum(r.latched_success for r in results), len(results))
    position_cm = [100 * r.position_error_m for r in results]
    rotation_deg = [math.degrees(r.rotation_error_rad) for r in results]
    latency = np.concatenate([r.latency_ms for r in results])
    return {
        "episodes": len(results),
        "success": success.value,
        "success_low": success.low,
        "success_high": success.high,
        "latched_success": latched.value,
        "latched_success_low": latched.low,
        "latched_success_high": latched.high,
        "position_error_cm": _finite(np.mean, position_cm),
        "position_error_cm_median": _finite(np.median, position_cm),
        "rotation_error_deg": _finite(np.mean, rotation_deg),
        "rotation_error_deg_median": _finite(np.median, rotation_deg),
        **{name: _share(getattr(r, name) for r in results) for name in FLAGS},
        "causes": causes(results),
        "return": float(np.mean([r.episode_return for r in results])),
        "steps": float(np.mean([r.steps for r in results])),
        "ms_per_action": _finite(np.mean, latency),
        "ms_per_action_p50": _finite(np.median, latency),
        "ms_per_action_p99": _finite(lambda values: np.quantile(values, 0.99), latency),
        "episode_results": [r.to_dict() for r in results],
    }


def paired(first: Sequence[EpisodeResult], other: Sequence[EpisodeResult]) -> dict[str, int]:
    """On how many of the seeds that both ran which of two agents succeeded."""
    theirs = {r.seed: r.success for r in other}
    both = [(r.success, theirs[r.seed]) for r in first if r.seed in theirs]
    return {
        "both": sum(a and b for a, b in both),
        "only_first": sum(a and not b for a, b in both),
        "only_other": sum(b and not a for a, b in both),
        "neither": sum(not a and not b for a, b in both),
    }


def _finite(statistic: Any, values: ArrayLike) -> float | None:
    array = np.asarray(values, np.float64)
    array = array[np.isfinite(array)]
    return float(statistic(array)) if array.size else None


def _share(flags: Iterable[bool | None]) -> float | None:
    known = [flag for flag in flags if flag is not None]
    return float(np.mean(known)) if known else None
