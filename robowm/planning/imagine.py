"""Imagined futures: unroll a world model and score what was imagined.

Every planner shares these functions, so that the score of a sequence means the same everywhere.
Gradients flow through them; whoever needs none calls them inside ``torch.inference_mode``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from robowm.behaviour.protocol import Critic
from robowm.models.protocol import Objective, State, Step, WorldModel, map_state, repeat_state

# Rows are B * N; feat is what the model's ``feat`` reads of a state.
Act = Callable[[int, Tensor], Tensor]  # (t, feat [rows, F]) -> actions [rows, A]
# (feat [B, N or 1, T, F], actions taken there [B, N, T, A]) -> [B, N, T], taken off the objective
Charge = Callable[[Tensor, Tensor], Tensor]

READ_ROWS = 512


@dataclasses.dataclass
class Rollout:
    """N imagined futures, H steps long, of each of B beliefs.

    Attributes:
      actions: [B, N, H, A].
      objective: [B, N, H], of each step, less what it was charged; the model's reward where no
        objective was given.
      cont: [B, N, H], probability that the episode goes on after each step.
      final: what ``feat`` reads of the last state [B * N, F]; row ``b * N + n`` is future n of belief b.
      states: the H states after each action, if they were asked for, else empty.
    """

    actions: Tensor
    objective: Tensor
    cont: Tensor
    final: Tensor
    states: list[State]


def unroll(
    model: WorldModel,
    state: State,
    act: Act,
    samples: int,
    horizon: int,
    objective: Objective | None = None,
    charge: Charge | None = None,
    keep_states: bool = False,
) -> Rollout:
    """Repeat each of the B rows of ``state`` N = ``samples`` times and step H = ``horizon`` times."""
    actions, states = [], [repeat_state(state, samples) if samples > 1 else state]
    feats = [model.feat(state).repeat_interleave(samples, 0)]
    for t in range(horizon):
        actions.append(act(t, feats[-1]))  # [B * N, A]
        states.append(model.step(states[-1], actions[-1]))
        feats.append(model.feat(states[-1]))
    taken = torch.stack(actions, 1)
    return _read(model, states, feats, taken, samples, objective, charge, keep_states)


def rollout(
    model: WorldModel,
    state: State,
    actions: Tensor,
    objective: Objective | None = None,
    charge: Charge | None = None,
    keep_states: bool = False,
) -> Rollout:
    """Imagine the given sequences [B, N, H, A] from the B rows of ``state``."""
    samples, taken = actions.shape[1], actions.flatten(0, 1)  # [B * N, H, A]
    feats = [model.feat(state).repeat_interleave(samples, 0)]
    states = [repeat_state(state, samples) if samples > 1 else state]
    for action in taken.unbind(1):
        states.append(model.step(states[-1], action))
    return _read(model, states, feats, taken, samples, objective, charge, keep_states)


def _read(
    model: WorldModel,
    states: list[State],
    feats: list[Tensor],
    actions: Tensor,
    samples: int,
    objective: Objective | None,
    charge: Charge | None,
    keep_states: bool,
) -> Rollout:
    """What came of it: of H + 1 states, as many of the feats as are known, and actions [B * N, H, A].

    Several steps are read at once, as one product of many rows is faster than many of few; but no
    more than stay in a processor's cache.
    """
    rows, horizon = actions.shape[:2]
    together = max(1, READ_ROWS // rows) if actions.device.type == "cpu" else horizon
    taken = actions.unflatten(0, (-1, samples))  # [B, N, H, A]
    gains, conts, charges = [], [], []
    if charge is not None:
        charges.append(charge(feats[0][::samples, None, None], taken[:, :, :1]))
    for begin in range(0, horizon, together):
        end = min(begin + together, horizon)
        after = _stacked(states[begin + 1 : end + 1])
        known = feats[begin + 1 : end + 1]
        feat = torch.stack(known, 1) if known else model.feat(after)
        reward, cont = model.predict(feat)
        gain = reward
        if objective is not None:
            before = _stacked(states[begin:end])
            before, after = (map_state(s, lambda leaf: leaf.flatten(0, 1)) for s in (before, after))
            step = Step(after, reward.flatten(), cont.flatten())
            gain = objective(before, actions[:, begin:end].flatten(0, 1), step).view_as(reward)
        gains.append(gain)
        conts.append(cont)
        if charge is not None and (later := taken[:, :, begin + 1 : end + 1]).shape[2]:
            charges.append(charge(feat[:, : later.shape[2]].unflatten(0, (-1, samples)), later))
    gain, cont = (
        torch.cat(parts, 1).float().unflatten(0, (-1, samples)) for parts in (gains, conts)
    )
    if charges:
        gain = gain - torch.cat(charges, 2)
    return Rollout(taken.float(), gain, cont, feat[:, -1], states[1:] if keep_states else [])


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
    weight = (discount * imagined.cont).cumprod(-1)  # weight of what comes after each step
    total = imagined.objective[..., 0] + (weight[..., :-1] * imagined.objective[..., 1:]).sum(-1)
    if critic is not None:
        values = critic(imagined.final)  # [E, B * N]
        final = ensemble_value(values, value, value_std_penalty)
        total = total + weight[..., -1] * final.view_as(total)
    return total
