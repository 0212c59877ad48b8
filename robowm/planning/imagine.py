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
from robowm.models.protocol import Objective, State, WorldModel, repeat_state

# Rows are B * N; feat is what the model's ``feat`` reads of a state.
Act = Callable[[int, Tensor], Tensor]  # (t, feat [rows, F]) -> actions [rows, A]
Charge = Callable[[Tensor, Tensor], Tensor]  # (feat, action) -> [rows], taken off the objective


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
    current = repeat_state(state, samples) if samples > 1 else state
    feat = model.feat(state).repeat_interleave(samples, 0)
    actions, objectives, conts, states = [], [], [], []
    for t in range(horizon):
        action = act(t, feat)  # [B * N, A]
        step = model.step(current, action)
        gain = step.reward if objective is None else objective(current, action, step)
        if charge is not None:
            gain = gain - charge(feat, action)
        current, feat = step.state, step.feat
        actions.append(action)
        objectives.append(gain)
        conts.append(step.cont)
        if keep_states:
            states.append(current)

    def stacked(rows: list[Tensor]) -> Tensor:
        return torch.stack(rows, 1).float().unflatten(0, (-1, samples))

    return Rollout(stacked(actions), stacked(objectives), stacked(conts), feat, states)


def rollout(
    model: WorldModel,
    state: State,
    actions: Tensor,
    objective: Objective | None = None,
    charge: Charge | None = None,
    keep_states: bool = False,
) -> Rollout:
    """Imagine the given sequences [B, N, H, A] from the B rows of ``state``."""
    columns = actions.flatten(0, 1).unbind(1)  # H times [B * N, A]
    samples, horizon = actions.shape[1:3]
    return unroll(
        model, state, lambda t, _: columns[t], samples, horizon, objective, charge, keep_states
    )


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
