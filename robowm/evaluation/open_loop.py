"""How well a model imagines: pose error by horizon, and the ranking of action sequences.

*Pose error* asks whether the imagined object is where the real one is. *Ranking* asks what planning
asks: of several action sequences from here, which return more? It predicts planning; errors of
pixels do not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robowm.errors import UserError
from robowm.evaluation.metrics import Interval, bootstrap_mean, rotation_error_rad, spearman
from robowm.models.protocol import Decodes, EstimatesPose, State, WorldModel
from robowm.planning.imagine import rollout, score
from robowm.spec import POSITION, TaskSpec

if TYPE_CHECKING:
    from robowm.data.episode import Episode

CURVES = ("imagined", "posterior", "copy_last")


@dataclasses.dataclass
class OpenLoopConfig:
    """Attributes:
    context: observed steps before the first imagined one, at least.
    horizon: imagined steps, at most; an episode gives what it has left.
    stride: steps from one start to the next within an episode.
    moved_m: how far an object must go between start and horizon to count as moved.
    """

    context: int = 5
    horizon: int = 50
    stride: int = 5
    moved_m: float = 0.02

    def __post_init__(self) -> None:
        for name in ("context", "horizon", "stride"):
            if getattr(self, name) < 1:
                raise UserError(f"open_loop.{name} is {getattr(self, name)}: give at least 1.")


@dataclasses.dataclass
class RankingConfig:
    """Attributes:
    starts: restored simulator states; scripts/imagine.py leaves the ranking out at 0.
    candidates: action sequences from each.
    horizon: their length.
    discount: of both returns.
    """

    starts: int = 24
    candidates: int = 32
    horizon: int = 8
    discount: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("starts", 0), ("candidates", 2), ("horizon", 1)):
            if getattr(self, name) < least:
                raise UserError(f"ranking.{name} is {getattr(self, name)}: give at least {least}.")


@dataclasses.dataclass
class Ranking:
    """Attributes:
    config: how it was measured.
    correlations: [starts], Spearman's, of predicted with true return over the candidates.
    mean: over starts, with its bootstrap interval.
    tied: starts left out, since all their candidates truly return the same.
    """

    config: RankingConfig
    correlations: list[float]
    mean: Interval
    tied: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; None where every start was tied."""
        value, low, high = (None if np.isnan(x) else float(x) for x in self.mean)
        return {
            **dataclasses.asdict(self.config),
            "mean": value,
            "low": low,
            "high": high,
            "correlations": self.correlations,
            "tied": self.tied,
        }


@torch.inference_mode()
def posterior_states(model: WorldModel, episode: Episode) -> list[State]:
    """The T+1 beliefs of one episode as it was seen, each of one row."""
    device = _device(model)
    state = model.initial(1)
    previous = torch.zeros(1, episode.actions.shape[1], device=device)
    states = []
    for t in range(len(episode) + 1):
        seen = {name: rows[t][None] for name, rows in episode.observations.items()}
        obs = {name: torch.as_tensor(row, device=device) for name, row in seen.items()}
        state = model.observe(state, previous, obs, torch.tensor([t == 0], device=device))
        states.append(state)
        if t < len(episode):
            previous = torch.as_tensor(episode.actions[t][None], device=device)
    return states


@torch.inference_mode()
def imagine(model: WorldModel, state: State, actions: NDArray[np.float32]) -> list[State]:
    """The H states that ``actions`` [B, H, A] lead to in the model from ``state`` of B rows."""
    sequences = torch.as_tensor(actions, device=_device(model))[:, None]  # [B, 1, H, A]
    return rollout(model, state, sequences, keep_states=True).states


def pose_errors(
    model: WorldModel,
    episodes: Sequence[Episode],
    spec: TaskSpec,
    config: OpenLoopConfig | None = None,
) -> dict[str, Any]:
    """Pose error against the truth at 1 to ``horizon`` imagined steps, as plain data for JSON.

    Three curves: ``imagined``; ``posterior``, the floor, which has seen every step; ``copy_last``,
    the ceiling, which keeps the posterior at the start. All compare with the simulator's pose at
    the same step. ``moved`` holds the same over those (start, horizon) pairs whose object truly
    moved, since most of an approach is a still object, which is easy.

    Raises:
      UserError: if the model estimates no pose, or no episode is longer than the context.
    """
    config = config or OpenLoopConfig()
    if not isinstance(model, EstimatesPose) or POSITION not in spec.pose_keys:
        raise UserError(
            f"open-loop pose error needs a model that estimates the object's pose, and "
            f"{type(model).__name__} on {spec.task} does not: train one with a pose head."
        )
    found = (_episode_errors(model, episode, spec, config) for episode in episodes)
    parts = [errors for errors in found if errors is not None]
    if not parts:
        raise UserError(
            f"no episode is longer than the context of {config.context} steps: "
            "give longer episodes or a shorter context."
        )
    errors = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}  # [starts, H]
    moved = errors.pop("moved_m") > config.moved_m
    horizon = int(np.isfinite(errors["position_cm/imagined"]).any(0).sum())
    return {
        "context": config.context,
        "horizon": list(range(1, horizon + 1)),
        "episodes": len(parts),
        "starts": len(moved),
        "moved_m": config.moved_m,
        **_summary(errors, np.ones_like(moved), horizon),
        "moved": _summary(errors, moved, horizon),
    }


def rank_candidates(
    model: WorldModel,
    make_env: Callable[[], Any],
    episodes: Sequence[Episode],
    config: RankingConfig | None = None,
    context: int = 5,
) -> Ranking:
    """Rank correlation of predicted with true return of candidate action sequences.

    Candidates are what the expert would do, ever more disturbed, and random actions held for a few
    steps; so some are good, some nearly so, and most are bad. Truth is the simulator's, restored to
    ``episode.states[t]``; the prediction follows the belief after observing the episode up to t.

    Args:
      make_env: an environment of the split that the episodes come from. It may be in state mode:
        nothing of it but the rewards is read.

    Raises:
      UserError: if the episodes carry no simulator states or are all too short, or if the
        environment does not play them again as they were recorded.
    """
    config = config or RankingConfig()
    rng = np.random.default_rng(config.seed)
    places = [
        (index, t)
        for index, episode in enumerate(episodes)
        if len(episode.states) and "seed" in episode.info
        for t in range(context, len(episode) - config.horizon + 1)
    ]
    if not places:
        raise UserError(
            f"no episode has simulator states and {context + config.horizon} steps: collect held-out "
            "episodes with their states, or shorten the ranking's horizon."
        )
    chosen = sorted(
        places[i] for i in rng.choice(len(places), min(config.starts, len(places)), replace=False)
    )
    beliefs = {i: posterior_states(model, episodes[i]) for i in {index for index, _ in chosen}}
    env = make_env()
    correlations, tied = [], 0
    try:
        _check_replays(env, episodes[chosen[0][0]], chosen[0][1], config.horizon)
        for index, t in chosen:
            episode = episodes[index]
            actions = _candidates(episode, t, config, rng)
            true = _true_returns(env, episode, t, actions, config.discount)
            predicted = _predicted_returns(model, beliefs[index][t], actions, config.discount)
            correlation = spearman(predicted, true)
            if np.ptp(true) < 1e-9:
                tied += 1
            else:  # a model that cannot tell candidates apart has ranked nothing
                correlations.append(0.0 if np.isnan(correlation) else correlation)
    finally:
        if hasattr(env, "close"):
            env.close()
    return Ranking(config, correlations, bootstrap_mean(correlations, seed=config.seed), tied)


@torch.inference_mode()
def decoded_images(model: WorldModel, states: Sequence[State], name: str) -> NDArray[np.uint8]:
    """Pictures [N, H, W, 3] of N states of one row each."""
    if not isinstance(model, Decodes):
        raise UserError(
            f"{type(model).__name__} decodes no pictures: imagination can be measured, not shown."
        )
    pictures = torch.cat([model.decode(state)[name] for state in states]).float()
    return pictures.round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def _device(model: WorldModel) -> torch.device:
    return next(iter(model.initial(1).values())).device


def _episode_errors(
    model: WorldModel, episode: Episode, spec: TaskSpec, config: OpenLoopConfig
) -> dict[str, NDArray[np.float64]] | None:
    """``"position_cm/imagined"`` and so on, [starts, H], NaN beyond the end of the episode."""
    # The belief at t has seen t + 1 observations.
    starts = np.arange(config.context - 1, len(episode), config.stride)
    if not len(starts):
        return None
    states = posterior_states(model, episode)
    first = {k: torch.cat([states[t][k] for t in starts]) for k in states[0]}
    # [starts, H]: where the h-th imagined step ends; past the end the last action is repeated.
    ends = starts[:, None] + np.arange(1, config.horizon + 1)
    actions = episode.actions[np.minimum(ends - 1, len(episode) - 1)]
    inside = ends <= len(episode)
    ends = np.minimum(ends, len(episode))

    seen = _poses(model, states)  # [T + 1, ...]
    dreamt = [_poses(model, [state]) for state in imagine(model, first, actions)]
    estimates = {
        "imagined": {k: np.stack([step[k] for step in dreamt], 1) for k in seen},
        "posterior": {k: v[ends] for k, v in seen.items()},
        "copy_last": {k: np.repeat(v[starts][:, None], config.horizon, 1) for k, v in seen.items()},
    }
    position = episode.privileged[POSITION]
    errors = {"moved_m": np.linalg.norm(position[ends] - position[starts][:, None], axis=-1)}
    for curve, pose in estimates.items():
        distance = np.linalg.norm(pose[POSITION] - position[ends], axis=-1)
        errors[f"position_cm/{curve}"] = 100 * distance
        truth = {k: episode.privileged[k][ends] for k in spec.pose_keys}
        turned = rotation_error_rad(pose, truth, spec.yaw_order)
        if turned is not None:
            errors[f"rotation_deg/{curve}"] = np.degrees(turned)
    return {k: np.where(inside, v, np.nan) for k, v in errors.items()}


@torch.inference_mode()
def _poses(model: Any, states: Sequence[State]) -> dict[str, NDArray[np.float64]]:
    joined = {k: torch.cat([state[k] for state in states]) for k in states[0]}
    return {k: v.double().cpu().numpy() for k, v in model.pose(joined).items()}


def _summary(
    errors: dict[str, NDArray[np.float64]], chosen: NDArray[np.bool_], horizon: int
) -> dict[str, Any]:
    """Mean, median and 90th percentile of each curve over the chosen starts, by horizon."""
    out: dict[str, Any] = {}
    for key, values in errors.items():
        quantity, curve = key.split("/")
        columns = [values[:, h][chosen[:, h] & np.isfinite(values[:, h])] for h in range(horizon)]
        out.setdefault("pairs", [len(column) for column in columns])
        out.setdefault(quantity, {})[curve] = {
            "mean": [_or_none(np.mean, column) for column in columns],
            "median": [_or_none(np.median, column) for column in columns],
            "p90": [_or_none(lambda c: np.quantile(c, 0.9), column) for column in columns],
        }
    return out


def _or_none(statistic: Callable[[Any], Any], column: NDArray[np.float64]) -> float | None:
    return float(statistic(column)) if len(column) else None


def _candidates(
    episode: Episode, t: int, config: RankingConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Action sequences [N, H, A]; the first is the expert's own."""
    count, horizon = config.candidates, config.horizon
    expert = episode.expert_actions[t : t + horizon]
    size = expert.shape[1]
    guided = count // 2
    noise = rng.standard_normal((guided, horizon, size)) * np.linspace(0, 1, guided)[:, None, None]
    # Held for a few steps, as noise that changes its mind every step stays where it is.
    held = rng.uniform(-1, 1, (count - guided, -(-horizon // 3), size)).repeat(3, axis=1)
    return np.concatenate([expert + noise, held[:, :horizon]]).clip(-1, 1).astype(np.float32)


def _check_replays(env: Any, episode: Episode, t: int, horizon: int) -> None:
    """Another task, split or randomisation would restore the state into another scene."""
    recorded = float(episode.rewards[t : t + horizon].sum())
    (again,) = _true_returns(env, episode, t, episode.actions[None, t : t + horizon], 1.0)
    if abs(recorded - again) > 1e-3 * horizon:
        raise UserError(
            f"the environment does not play seed {episode.info['seed']} again as it was recorded "
            f"(return {again:.3f} instead of {recorded:.3f}): give the task and split of the data."
        )


def _true_returns(
    env: Any, episode: Episode, t: int, actions: NDArray[np.float32], discount: float
) -> NDArray[np.float64]:
    returns = np.zeros(len(actions))
    env.reset(seed=int(episode.info["seed"]))  # the scene's masses and colours; states move in it
    for index, sequence in enumerate(actions):
        env.set_state(episode.states[t])
        for h, action in enumerate(sequence):
            step = env.step(action)
            returns[index] += discount**h * step.reward
            if step.last():
                break
    return returns


@torch.inference_mode()
def _predicted_returns(
    model: WorldModel, state: State, actions: NDArray[np.float32], discount: float
) -> NDArray[np.float64]:
    sequences: Tensor = torch.as_tensor(actions, device=_device(model))[None]  # [1, N, H, A]
    returns = score(rollout(model, state, sequences), discount=discount)  # [1, N]
    return returns[0].double().cpu().numpy()
