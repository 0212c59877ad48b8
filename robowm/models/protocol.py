"""The interface that every world model keeps, whatever is inside it.

A *State* is a flat dictionary of tensors whose every leaf is ``[B, ...]``: it can be gathered,
repeated and detached without knowing what it holds. Planners and behaviours see a State only through
``feat``, and move it only through ``step``. What is read of a State does not depend on what is read of
the next, so that whoever imagines steps first and reads all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

State = dict[str, Tensor]
Batch = Mapping[str, Tensor]


class Prediction(NamedTuple):
    """Of arriving somewhere."""

    reward: Tensor  # [...]
    cont: Tensor  # [...] in [0, 1], that the episode goes on


class Step(NamedTuple):
    """One imagined step, as an objective sees it: where it led, and what the model predicts there."""

    state: State
    reward: Tensor  # [B]
    cont: Tensor  # [B] in [0, 1]


@runtime_checkable
class WorldModel(Protocol):
    feat_size: int

    def initial(self, batch_size: int) -> State: ...

    def observe(self, state: State, prev_action: Tensor, obs: Batch, is_first: Tensor) -> State:
        """Posterior after ``obs`` (raw arrays as tensors [B, ...]); ``is_first`` [B] resets."""
        ...

    def step(self, state: State, action: Tensor, sample: bool = False) -> State:
        """Prior after ``action`` [B, A]. Differentiable; deterministic unless ``sample``."""
        ...

    def feat(self, state: State) -> Tensor:
        """What policy and critic read: [..., F] of leaves [..., K]."""
        ...

    def predict(self, feat: Tensor) -> Prediction:
        """Of arriving at states of which ``feat`` [..., F] reads this."""
        ...

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], State]:
        """Scalar loss, metrics, and the posterior states [B, T, ...] of a batch [B, T, ...]."""
        ...


@runtime_checkable
class Decodes(Protocol):
    def decode(self, state: State) -> dict[str, Tensor]:
        """Observation arrays in their raw units; images float in [0, 255], [B, H, W, C]."""
        ...


@runtime_checkable
class EstimatesPose(Protocol):
    def pose(self, state: State) -> dict[str, Tensor]:
        """The arrays of ``TaskSpec.pose_keys``, such as ``object_position`` [B, 3] in metres."""
        ...


@runtime_checkable
class EstimatesProprio(Protocol):
    def proprio(self, state: State) -> Tensor:
        """``proprio`` [B, P] in its raw units."""
        ...


@runtime_checkable
class Uncertain(Protocol):
    def epistemic(self, state: State, action: Tensor) -> Tensor:
        """Disagreement about what ``action`` leads to: [B], >= 0."""
        ...


@runtime_checkable
class PredictsSuccess(Protocol):
    def predict_success(self, state: State) -> Tensor:
        """Probability that the episode ends in success under the data's behaviour: [B]."""
        ...


Objective = Callable[[State, Tensor, Step], Tensor]  # (state, action, step) -> [B]


def map_state(state: State, function: Callable[[Tensor], Tensor]) -> State:
    return {name: function(leaf) for name, leaf in state.items()}


def repeat_state(state: State, n: int) -> State:
    """[B, ...] -> [B * n, ...], each row n times in a run."""
    return map_state(state, lambda leaf: leaf.repeat_interleave(n, dim=0))


def gather_state(state: State, index: Tensor) -> State:
    """Rows ``index`` [M] of each leaf."""
    return map_state(state, lambda leaf: leaf.index_select(0, index))


def detach_state(state: State) -> State:
    return map_state(state, torch.Tensor.detach)
