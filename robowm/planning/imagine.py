"""Imagined futures: unroll a world model and score what was imagined.

Every planner shares these functions, so that the score of a sequence means the same everywhere.
Gradients flow through them; whoever needs none calls them inside ``torch.inference_mode``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from robowm.behaviour.protocol import Critic
from robowm.models.protocol import Objective, State, Step, WorldModel, map_state, repeat_state

# (t, feat [B * N, F] of where each future is) -> actions [B * N, A]
Act = Callable[[int, Tensor], Tensor]

READ_ROWS = 512  # at a time on a CPU: one product of many rows is fast while they stay in its cache


@dataclasses.dataclass
class Rollout:
    """N imagined futures, H steps long, of each of B beliefs.

    Attributes:
      actions: [B, N, H, A].
      objective: [B, N, H], of each step; the model's reward where no objective was given.
      cont: [B, N, H], probability that the episode goes on after each step.
      feats: what ``feat`` reads after each step [B, N, H, F].
      states: the H states after each action, if they were asked for, else empty; row ``b * N + n`` is
        future n of belief b.
    """

    actions: Tensor
    objective: Tensor
    cont: Tensor
    feats: Tensor
    states: list[State]


def unroll(
    model: WorldModel,
    state: State,
    act: Act,
    samples: int,
    horizon: int,
    objective: Objective | None = None,
    keep_states: bool = False,
) -> Rollout:
    """Repeat each of the B rows of ``state`` N = ``samples`` times and step H = ``horizon`` times."""
    states = [repeat_state(state, samples) if samples > 1 else state]
    feats, actions = [model.feat(state).repeat_interleave(samples, 0)], []
    for t in range(horizon):
        actions.append(act(t, feats[-1]))
        states.append(model.step(states[-1], actions[-1]))
        feats.append(model.feat(states[-1]))
    taken = torch.stack(actions, 1)
    return _read(model, states, feats[1:], taken, samples, objective, keep_states)


def rollout(
    model: WorldModel,
    state: State,
    actions: Tensor,
    objective: Objective | None = None,
    keep_states: bool = False,
) -> Rollout:
    """Imagine the given sequences [B, N, H, A] from the B rows of ``state``."""
    samples, taken = actions.shape[1], actions.flatten(0, 1)  # [B * N, H, A]
    states = [repeat_state(state, samples) if samples > 1 else state]
    for action in taken.unbind(1):
        states.append(model.step(states[-1], action))
    return _read(model, states, [], taken, samples, objective, keep_states)


def _read(
    model: WorldModel,
    states: list[State],
    feats: list[Tensor],
    actions: Tensor,
    samples: int,
    objective: Objective | None,
    keep_states: bool,
) -> Rollout:
    """What came of it: of H + 1 states, the feats after each step if they are known, and the actions
    [B * N, H, A]. Several steps are read at once."""
    rows, horizon = actions.shape[:2]
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for at in in_parts(horizon, rows, actions.device):
        after = _stacked(states[1:][at])
        feat = torch.stack(feats[at], 1) if feats else model.feat(after)
        reward, cont = model.predict(feat)
        gain = reward
        if objective is not None:
            before = map_state(_stacked(states[:-1][at]), lambda leaf: leaf.flatten(0, 1))
            after = map_state(after, lambda leaf: leaf.flatten(0, 1))
            step = Step(after, reward.flatten(), cont.flatten())
            gain = objective(before, actions[:, at].flatten(0, 1), step).view_as(reward)
        parts.append((gain, cont, feat))
    gain, cont, feat = (
        torch.cat(part, 1).unflatten(0, (-1, samples)) for part in zip(*parts, strict=True)
    )
    taken = actions.float().unflatten(0, (-1, samples))
    return Rollout(taken, gain.float(), cont.float(), feat, states[1:] if keep_states else [])


def in_parts(count: int, rows: int, device: torch.device) -> Iterator[slice]:
    """Slices of ``count`` things of ``rows`` rows each: all in one, but READ_ROWS at most on a CPU."""
    together = max(1, READ_ROWS // max(1, rows)) if device.type == "cpu" else count
    for begin in range(0, count, together):
        yield slice(begin, begin + together)


def _stacked(states: list[State]) -> State:
    """T states of leaves [rows, ...] -> leaves [rows, T, ...]."""
    return {name: torch.stack([state[name] for state in states], 1) for name in states[0]}


def ensemble_value(values: Tensor, value: str = "min", std_penalty: float = 1.0) -> Tensor:
    """A careful reading of an ensemble of values [E, ...] -> [...].

    Args:
      value: ``"min"``, or ``"mean_std"`` for the mean minus ``std_penalty`` standard deviations.
    """
    values = values.float()
    if value == "min":
        return values.amin(0)
    return values.mean(0) - std_penalty * values.std(0, correction=0)


def score(
    imagined: Rollout,
    critic: Critic | None = None,
    discount: float = 0.99,
    value: str = "min",
    value_std_penalty: float = 1.0,
) -> Tensor:
    """Predicted return of each future: [B, N].

    The objective of a step counts as far as the episode is still going on before it:
    ``sum_t discount^t * alive_t * objective_t + discount^H * alive_H * value(final)`` with
    ``alive_t`` the product of ``cont`` over the steps before t. No terminal value without a critic.
    """
    total = present_value(imagined.objective, imagined.cont, discount)
    if critic is not None:
        values = critic(imagined.feats[..., -1, :].flatten(0, 1))  # [E, B * N]
        final = ensemble_value(values, value, value_std_penalty)
        total = total + (discount * imagined.cont).prod(-1) * final.view_as(total)
    return total


def present_value(gains: Tensor, cont: Tensor, discount: float) -> Tensor:
    """Sum over the steps of [..., H], each as far as the episode still goes on before it: [...]."""
    weight = (discount * cont).cumprod(-1)[..., :-1]  # of what comes after each step
    return gains[..., 0] + (weight * gains[..., 1:]).sum(-1)
