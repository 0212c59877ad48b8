"""Sequences to learn from: windows of L steps, drawn uniformly, across the ends of episodes.

An episode of T actions is T+1 rows, one an observation; see :func:`align` for what a row holds. A
window begins at any row with equal probability. Where an episode ends, a randomly chosen one begins,
so that every column of a batch is uniform over all rows, not just the first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robowm.data.episode import Array, Episode
from robowm.data.grasp_labels import grasp_labels
from robowm.data.store import (
    Dataset,
    EpisodeWriter,
    OpenShards,
    StoredEpisode,
    explaining,
    open_dataset,
)
from robowm.errors import UserError, unknown
from robowm.spec import TaskSpec

GIB = 2**30
LABELS = ("simulator", "grasp")


@dataclasses.dataclass
class ReplayConfig:
    """How data is replayed.

    Attributes:
      memory_limit_gib: of episodes kept in memory; the pictures of the rest are read from disk.
      labelled: share of the episodes, drawn by the replay's seed, that keep their privileged labels; in
        the others these are NaN, as where nobody measured a pose.
      labels: ``simulator``, or ``grasp`` for those that the hand tells (:mod:`robowm.data.grasp_labels`).
    """

    memory_limit_gib: float = 3.0
    labelled: float = 1.0
    labels: str = "simulator"


def align(episode: Episode) -> dict[str, Array]:
    """The T+1 rows of an episode, by name; row t belongs to observation t.

    ============= ======= ==========================================================================
    NAME          [.., S] each observation, as it is
    prev_action   [.., A] led to this observation; 0 in row 0
    action        [.., A] executed at this observation; 0 in row T
    expert_action [.., A] the expert's at this observation; 0 in row T
    has_action            0 in row T, else 1
    reward                received on arriving at this observation; 0 in row 0
    cont                  0 in row T of an episode whose world ended, else 1
    is_first              bool, True in row 0
    success               in {0, 1}, at this observation
    outcome               success at the last observation, in every row; NaN where it was broken off
    privileged/NAME       learning targets at this observation
    ============= ======= ==========================================================================

    What is unknown of expert actions, rewards, success and learning targets is NaN.
    """
    steps, size = episode.actions.shape
    nothing = np.zeros((1, size), np.float32)
    has_action = np.ones(steps + 1, np.float32)
    has_action[-1] = 0
    cont = np.ones(steps + 1, np.float32)
    cont[-1] = float(not episode.terminal)
    reward = np.append(np.float32(0), episode.rewards)
    return {
        **episode.observations,
        "prev_action": np.concatenate([nothing, episode.actions]),
        "action": np.concatenate([episode.actions, nothing]),
        "expert_action": np.concatenate([episode.expert_actions, nothing]),
        "has_action": has_action,
        "reward": reward,
        "cont": cont,
        "is_first": np.arange(steps + 1) == 0,
        "success": episode.success,
        "outcome": np.full(
            steps + 1, np.nan if episode.info.get("broken_off") else episode.success[-1], np.float32
        ),
        **{f"privileged/{name}": array for name, array in episode.privileged.items()},
    }


@dataclasses.dataclass(frozen=True)
class _Rows:
    """An episode that can be drawn: its rows, but for the pictures where ``on_disk`` has them."""

    arrays: Mapping[str, Array]
    on_disk: StoredEpisode | None

    def __len__(self) -> int:
        return len(self.arrays["reward"])


class SequenceReplay:
    """Batches of windows, from memory as far as it goes and from disk beyond.

    Vectors, some hundredth of the bytes where there are pictures, are always in memory. Pictures
    are read from disk by the window, not kept: what is drawn uniformly does not come back soon.

    Args:
      datasets: one, or several of the same task, or of tasks that show and take the same arrays.
      batch_size, length: B and L.
      seed: of the draws.
      memory_limit_gib, labelled, labels: see :class:`ReplayConfig`.
      added: folder for the episodes that :meth:`add` takes; needed for it alone.
    """

    def __init__(
        self,
        datasets: Dataset | Sequence[Dataset],
        batch_size: int,
        length: int,
        seed: int = 0,
        memory_limit_gib: float = 3.0,
        added: Path | None = None,
        labelled: float = 1.0,
        labels: str = LABELS[0],
    ):
        datasets = [datasets] if isinstance(datasets, Dataset) else list(datasets)
        if not datasets or batch_size < 1 or length < 1 or memory_limit_gib < 0:
            raise UserError(
                f"a replay of {len(datasets)} datasets with batches of {batch_size} x {length} in "
                f"{memory_limit_gib} GiB: give at least one dataset, 1 x 1 and 0 GiB."
            )
        if not 0 <= labelled <= 1:
            raise UserError(f"replay.labelled is {labelled}: choose a share from 0 to 1.")
        if labels not in LABELS:
            raise unknown("replay.labels", labels, LABELS)
        self.spec: TaskSpec = datasets[0].spec
        self.batch_size, self.length = batch_size, length
        self._limit = int(memory_limit_gib * GIB)
        self._bytes = 0
        self._shards = OpenShards()
        self._added_to = added
        self._seed, self._labelled, self._labels = seed, labelled, labels
        self._episodes: list[_Rows] = []
        self._ends = np.zeros(0, np.int64)  # row at which each episode ends, counted over all
        self._rng = np.random.default_rng(seed)
        for dataset in datasets:
            if not dataset.spec.looks_like(self.spec):
                raise UserError(
                    f"datasets of {self.spec.task!r} and {dataset.spec.task!r} show or take other "
                    "arrays, so they cannot be replayed together: give one of them."
                )
            for stored in dataset.episodes:
                self._hold(stored)
        self._given, self._given_rows = len(self._episodes), self.rows
        if not self._given:
            raise UserError("the data holds no episodes: collect some first.")
        vectors = self._episodes[0].arrays.items()
        self._layout = {
            **{
                name: (self.spec.observation[name].shape, np.dtype("uint8"))
                for name in self.spec.images
            },
            **{name: (array.shape[1:], array.dtype) for name, array in vectors},
        }

    @property
    def rows(self) -> int:
        """Observations to draw from."""
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def episodes(self) -> int:
        return len(self._episodes)

    @property
    def streamed(self) -> int:
        """Episodes whose pictures are read from disk at each draw."""
        return sum(episode.on_disk is not None for episode in self._episodes)

    @property
    def memory_bytes(self) -> int:
        return self._bytes

    def sample(self) -> dict[str, Tensor]:
        """A batch by the names of :func:`align`, each [B, L, ...]."""
        rows = (self.batch_size, self.length)
        batch = {k: np.empty((*rows, *shape), dtype) for k, (shape, dtype) in self._layout.items()}
        starts = self._rng.integers(self.rows, size=self.batch_size)
        for b, (which, row) in enumerate(zip(*self._locate(starts), strict=True)):
            filled = 0
            while filled < self.length:
                episode = self._episodes[which]
                n = min(self.length - filled, len(episode) - row)
                self._copy(episode, row, {k: v[b, filled : filled + n] for k, v in batch.items()})
                filled += n
                if filled < self.length:
                    which, row = int(self._rng.integers(len(self._episodes))), 0
        return {name: torch.from_numpy(array) for name, array in batch.items()}

    def add(self, episode: Episode) -> None:
        """Write one more episode into the folder ``added``, and draw from it from now on."""
        if self._added_to is None:
            raise UserError("this replay has no folder for new episodes: give it `added`.")
        self._added_to.mkdir(parents=True, exist_ok=True)
        path = self._added_path(len(self._episodes) - self._given)
        with EpisodeWriter(path, self.spec) as writer:
            writer.add(episode)
        self._hold(open_dataset(path).episodes[0])

    def state_dict(self) -> dict[str, Any]:
        """Plain data, with which :meth:`load_state_dict` goes on drawing exactly from here."""
        return {
            "generator": self._rng.bit_generator.state,
            "given": [self._given, self._given_rows],
            "added": len(self._episodes) - self._given,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on; episodes added since are forgotten.

        Raises:
          UserError: where this replay was given other data, or an added episode is gone.
        """
        if list(state["given"]) != [self._given, self._given_rows]:
            raise UserError(
                f"the data has {self._given} episodes with {self._given_rows} observations, but the "
                f"run began with {state['given'][0]} and {state['given'][1]}: give the same data, or "
                "another `out` to begin anew."
            )
        del self._episodes[self._given :]
        self._ends = self._ends[: self._given]
        self._bytes = sum(_nbytes(episode.arrays) for episode in self._episodes)
        self._shards.close()
        for number in range(state["added"]):
            self._hold(open_dataset(self._added_path(number)).episodes[0])
        self._rng.bit_generator.state = state["generator"]

    def _added_path(self, number: int) -> Path:
        assert self._added_to is not None
        return self._added_to / f"added_{number:06d}.hdf5"

    def _hold(self, stored: StoredEpisode) -> None:
        pictures = [self.spec.observation[name].size for name in self.spec.images]
        fits = self._bytes + (stored.length + 1) * sum(pictures) <= self._limit or not pictures
        arrays = align(stored.load(images=fits, states=False))
        if self._labels == "grasp":
            told = grasp_labels(arrays, self.spec)
            arrays |= {f"privileged/{name}": array for name, array in told.items()}
        if np.random.default_rng([self._seed, len(self._episodes)]).random() >= self._labelled:
            for name in arrays:
                if name.startswith("privileged/"):
                    arrays[name] = np.full_like(arrays[name], np.nan)
        self._episodes.append(_Rows(arrays, None if fits else stored))
        self._bytes += _nbytes(arrays)
        self._ends = np.append(self._ends, self.rows + stored.length + 1)

    def _locate(self, rows: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """Of rows counted over all episodes: which episode, and which row in it."""
        which = np.searchsorted(self._ends, rows, side="right")
        begins = np.concatenate([[0], self._ends])[which]
        return which.tolist(), (rows - begins).tolist()

    def _copy(self, episode: _Rows, row: int, out: Mapping[str, Array]) -> None:
        for name, array in episode.arrays.items():
            target = out[name]
            target[:] = array[row : row + len(target)]
        if stored := episode.on_disk:
            with explaining(stored.path):
                file = self._shards(stored.path)
                for name in self.spec.images:
                    stored.images(file, name, out[name], row)


def _nbytes(arrays: Mapping[str, Array]) -> int:
    return sum(array.nbytes for array in arrays.values())
