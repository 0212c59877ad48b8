"""Episodes on disk: shards in robomimic's HDF5 layout.

::

    shard_00000.hdf5
      model_xml                    the simulator's model, where there is one
      data                         attrs: format, version, spec (TaskSpec), info, env_args, total
        demo_0                     attrs: num_samples, terminal, info (seed, split, ...)
          actions, expert_actions  [T, A]
          rewards, dones           [T]; dones is 1 where the world ended, not at a time limit
          success                  [T+1]
          states, final_state      [T, S], [1, S]
          obs/NAME, final_obs/NAME [T, ...], [1, ...]
          privileged/NAME          [T+1, ...]

NaN in expert_actions, rewards, success and privileged is unknown: nobody measured or labelled it.

A shard is written beside its place, flushed to the disk and renamed: it is there whole or not at
all. It never changes afterwards, so readers need no lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robowm.data.episode import Array, Episode
from robowm.errors import UserError, unknown
from robowm.spec import TaskSpec

FORMAT, VERSION = "robowm-episodes", 1
SUFFIX = ".hdf5"
# gzip at level 1 makes episodes seven times smaller, and its checksums notice a damaged picture; without
# it, windows that are streamed come four times faster.
COMPRESSION: Mapping[str, Mapping[str, Any]] = {
    "gzip": {"compression": "gzip", "compression_opts": 1},
    "none": {},
}
CHUNK_STEPS = 16  # what a streamed window decompresses at least


class EpisodeWriter(contextlib.AbstractContextManager["EpisodeWriter"]):
    """Writes one shard; it appears at ``path`` when the block ends well and holds an episode.

    Args:
      path: of the shard; one that is there already is replaced.
      spec: of the task; each episode is checked against it.
      info: plain data about the whole shard.
      model_xml: the simulator's model.
      compression: a key of :data:`COMPRESSION`.
    """

    def __init__(
        self,
        path: Path,
        spec: TaskSpec,
        info: Mapping[str, Any] | None = None,
        model_xml: str = "",
        compression: str = "gzip",
    ):
        if compression not in COMPRESSION:
            raise unknown("compression", compression, COMPRESSION)
        self.path, self.spec = Path(path), spec
        self._compression = compression
        self._beside = self.path.parent / f".{self.path.name}.{os.getpid()}.new"
        self._count = self._total = 0
        self._file = h5py.File(self._beside, "w")
        self._file["model_xml"] = model_xml
        self._data = self._file.create_group("data")
        self._data.attrs.update(
            format=FORMAT,
            version=VERSION,
            spec=json.dumps(spec.to_dict()),
            info=json.dumps(dict(info or {})),
            env_args=json.dumps({"env_name": spec.task, "type": "robowm", "env_kwargs": {}}),
        )

    def add(self, episode: Episode) -> None:
        """Append; raises :class:`UserError` where the episode does not fit the spec."""
        episode.check(self.spec)
        steps = len(episode)
        dones = np.zeros(steps, np.float32)
        dones[-1] = float(episode.terminal)
        arrays: dict[str, Array] = {
            "actions": episode.actions,
            "expert_actions": episode.expert_actions,
            "rewards": episode.rewards,
            "dones": dones,
            "success": episode.success,
            "states": episode.states[:steps],
            "final_state": episode.states[steps:],
            **{f"obs/{k}": episode.observations[k][:steps] for k in self.spec.observation},
            **{f"final_obs/{k}": episode.observations[k][steps:] for k in self.spec.observation},
            **{f"privileged/{k}": episode.privileged[k] for k in self.spec.privileged},
        }
        group = self._data.create_group(f"demo_{self._count}")
        for name, array in arrays.items():
            self._write(group, name, array)
        group.attrs.update(
            num_samples=steps, terminal=episode.terminal, info=json.dumps(episode.info)
        )
        self._count += 1
        self._total += steps

    def _write(self, group: h5py.Group, name: str, array: Array) -> None:
        if self._compression == "none" or array.size == 0:
            group.create_dataset(name, data=array)
            return
        chunk = (min(len(array), CHUNK_STEPS), *array.shape[1:]) if array.ndim == 4 else array.shape
        group.create_dataset(name, data=array, chunks=chunk, **COMPRESSION[self._compression])

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._data.attrs["total"] = self._total
            self._file.close()
            if kind is None and self._count:
                _sync(self._beside)
                self._beside.replace(self.path)
                _sync(self.path.parent)
        finally:
            self._beside.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class StoredEpisode:
    """Where an episode lies, and what is known of it unread.

    Attributes:
      path, key: the shard, and the group in it.
      length: T.
      terminal, info: as in :class:`Episode`.
    """

    path: Path
    key: str
    length: int
    terminal: bool
    info: Mapping[str, Any]
    spec: TaskSpec

    def load(self, images: bool = True, states: bool = True) -> Episode:
        """Read it; without ``images`` or ``states`` these stay on disk."""
        with reading(self.path) as file:
            group = file[f"data/{self.key}"]
            names = self.spec.observation if images else self.spec.vectors
            steps = self.length
            return Episode(
                observations={k: self._joined(group, f"obs/{k}", f"final_obs/{k}") for k in names},
                actions=group["actions"][()],
                expert_actions=group["expert_actions"][()],
                rewards=group["rewards"][()],
                terminal=self.terminal,
                success=group["success"][()],
                privileged={k: group[f"privileged/{k}"][()] for k in self.spec.privileged},
                states=self._joined(group, "states", "final_state")
                if states
                else np.zeros((steps + 1, 0)),
                info=dict(self.info),
            )

    def images(self, file: h5py.File, name: str, out: Array, start: int) -> None:
        """Fill ``out`` [n, H, W, C] with observations ``start`` to ``start + n - 1``."""
        group = file[f"data/{self.key}"]
        stop = start + len(out)
        inside = min(stop, self.length) - start
        if inside > 0:
            group[f"obs/{name}"].read_direct(out, np.s_[start : start + inside], np.s_[:inside])
        if stop > self.length:
            group[f"final_obs/{name}"].read_direct(out, np.s_[:1], np.s_[-1:])

    def _joined(self, group: h5py.Group, name: str, final: str) -> Array:
        """[T, ...] and [1, ...] as one [T+1, ...], without a copy between."""
        steps = group[name]
        array = np.empty((self.length + 1, *steps.shape[1:]), steps.dtype)
        if array.size:
            steps.read_direct(array, dest_sel=np.s_[:-1])
            group[final].read_direct(array, dest_sel=np.s_[-1:])
        return array


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Episodes of one task, in the order of their seeds, whichever worker wrote them.

    Attributes:
      spec: of the task.
      episodes: unread.
      infos: what each shard says of itself, by path.
    """

    spec: TaskSpec
    episodes: tuple[StoredEpisode, ...]
    infos: Mapping[Path, Mapping[str, Any]]

    @property
    def steps(self) -> int:
        return sum(episode.length for episode in self.episodes)

    def showing(self, images: Collection[str]) -> Dataset:
        """The same without the pictures that are not among ``images``."""
        spec = self.spec.showing(images)
        episodes = tuple(dataclasses.replace(one, spec=spec) for one in self.episodes)
        return dataclasses.replace(self, spec=spec, episodes=episodes)


def open_dataset(path: str | Path) -> Dataset:
    """The dataset of a folder of shards, or of one shard.

    Raises:
      UserError: where there is nothing, a shard is damaged or of another format version, or
        shards are of different tasks.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"there is no data at {path}: expected a folder of {SUFFIX} files; make one with "
            f"`python scripts/collect.py out={path}`."
        )
    shards = shards_of(path) if path.is_dir() else [path]
    if not shards:
        raise UserError(
            f"the folder {path} holds no {SUFFIX} file: collect into it with "
            f"`python scripts/collect.py out={path}`, or give another folder."
        )
    first: TaskSpec | None = None
    episodes: list[StoredEpisode] = []
    infos = {}
    for shard in shards:
        with reading(shard) as file:
            spec, infos[shard], found = _index(shard, file)
        first = first or spec
        if spec.to_dict() != first.to_dict():
            raise UserError(
                f"{shard} holds {spec.task!r}, but {shards[0]} holds {first.task!r} or the same task "
                "seen otherwise: keep each in a folder of its own."
            )
        episodes += found
    assert first is not None
    episodes.sort(key=lambda e: (str(e.info.get("split", "")), e.info.get("seed", 0)))
    return Dataset(first, tuple(episodes), infos)


def shards_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """An open shard; whatever is wrong with its bytes is a :class:`UserError` that names it."""
    with explaining(path), h5py.File(path, "r") as file:
        check_format(path, file)
        yield file


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """HDF5's many errors about a damaged file as one sentence."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} is gone: it was there when the data was opened.") from error
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({str(error).splitlines()[0]}): it is damaged or half-written; "
            "delete it, and collect again to make its episodes anew."
        ) from error


def check_format(path: Path, file: h5py.File) -> None:
    attributes = file["data"].attrs if "data" in file else {}
    if attributes.get("format") != FORMAT:
        raise UserError(f"{path} holds no episodes of robowm: expected a file that collect wrote.")
    if (version := int(attributes["version"])) != VERSION:
        raise UserError(
            f"{path} has format version {version}, this robowm reads {VERSION}: collect the data "
            "again, or use the robowm that wrote it."
        )


class OpenShards:
    """Shards kept open for reading, the least recently used closed beyond ``limit``."""

    def __init__(self, limit: int = 128):
        self._limit = limit
        self._files: OrderedDict[Path, h5py.File] = OrderedDict()

    def __call__(self, path: Path) -> h5py.File:
        file = self._files.pop(path, None) or h5py.File(path, "r")
        self._files[path] = file
        if len(self._files) > self._limit:
            self._files.popitem(last=False)[1].close()
        return file

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()


def _index(path: Path, file: h5py.File) -> tuple[TaskSpec, dict[str, Any], list[StoredEpisode]]:
    data = file["data"]
    spec = TaskSpec.from_dict(json.loads(data.attrs["spec"]))
    episodes = [
        StoredEpisode(
            path=path,
            key=key,
            length=int(group.attrs["num_samples"]),
            terminal=bool(group.attrs["terminal"]),
            info=json.loads(group.attrs["info"]),
            spec=spec,
        )
        for key, group in data.items()
    ]
    return spec, json.loads(data.attrs["info"]), episodes


def _sync(path: Path) -> None:
    """Flush a file or a folder to the disk, so that a rename cannot come before what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
