"""Bags read again: the records of a run, in order, from an MCAP file that may never have been closed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from robowm.dispatch.record.bag_format import FORMAT, RECORDING, RUN, VERSION, Decoder
from robowm.dispatch.record.records import (
    Executed,
    Judged,
    Kind,
    Observed,
    Planned,
    Record,
    Sent,
)
from robowm.dispatch.wire.cdr import deserialise, store
from robowm.dispatch.wire.messages import BY_NAME, Message, Text
from robowm.errors import UserError
from robowm.spec import TaskSpec

SUFFIX = ".mcap"


@dataclasses.dataclass(frozen=True)
class Run:
    """What a bag holds.

    Attributes:
      path: of the MCAP file.
      about: what the recorder was told of it: checkpoint, configuration.
      joints: names, in the order of every ``q``.
      dropped: how many ``dropped_pictures`` and ``dropped_records`` the recorder left out; None where
        the bag was never closed, as after a kill: it then ends within the last second.
    """

    path: Path
    spec: TaskSpec
    about: Mapping[str, Any]
    joints: tuple[str, ...]
    records: tuple[Record, ...]
    dropped: Mapping[str, int] | None


def bags_in(path: str | Path) -> list[Path]:
    """One MCAP file, or all below a folder; raises :class:`UserError` where there is none."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"there is no bag at {path}: expected an MCAP file, or a folder of them.")
    found = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not found:
        raise UserError(f"the folder {path} holds no {SUFFIX} file: expected a bag of a run.")
    return found


def read_run(path: str | Path) -> Run:
    """A run from an MCAP file.

    Raises:
      UserError: where the file is damaged, or no bag that robowm recorded, or rosbags is not installed.
    """
    path = Path(path)
    head: dict[str, Any] | None = None
    dropped: dict[str, int] | None = None
    decode, records = Decoder(), []
    with _explaining(path):
        for topic, message, wall_ns in messages(path):
            if topic == RUN and isinstance(message, Text):
                head = json.loads(message.data)
                _check(path, head)
            elif topic == RECORDING and isinstance(message, Text):
                dropped = {str(k): int(v) for k, v in json.loads(message.data).items()}
            elif head is None:
                raise _foreign(path)
            elif (record := decode(topic, message, wall_ns / 1e9)) is not None:
                records.append(record)
        if head is None:
            raise _foreign(path)
        spec = _spec(path, head["spec"])
        joints = tuple(map(str, head["arm"]["joints"]))
        for record in records:
            _check_sizes(record, len(joints), spec.action.size)
        return Run(path, spec, dict(head["about"]), joints, tuple(records), dropped)


def messages(path: Path) -> Iterator[tuple[str, Message, int]]:
    """Topic, message and log time (ns) of all that :mod:`robowm.dispatch.wire.messages` knows."""
    store()  # says what to install
    from rosbags.rosbag2 import Reader

    with _whole(path) as file, Reader(file) as reader:
        known = [c for c in reader.connections if c.msgtype in BY_NAME]
        for connection, wall_ns, data in reader.messages(known):
            yield connection.topic, deserialise(connection.msgtype, data), wall_ns


# ---------------------------------------------------------------------- unfinished files

# https://mcap.dev/spec: magic, records of an opcode, a length and content, magic.
_MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _DATA_END = 0x02, 0x0F
_HEAD = 1 + 8
_END = (
    bytes([_DATA_END]) + (4).to_bytes(8, "little") + bytes(4)
    + bytes([_FOOTER]) + (20).to_bytes(8, "little") + bytes(20)
    + _MAGIC
)  # fmt: skip


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """``path``, or a copy that ends as a file without an index does, where its writer never closed it."""
    with path.open("rb") as file:
        end = _end_of_data(file)
        if end is None:
            yield path
            return
        with tempfile.TemporaryDirectory() as folder:
            mended = Path(folder) / path.name
            with mended.open("wb") as copy:
                file.seek(0)
                shutil.copyfileobj(file, copy)
                copy.truncate(end)
                copy.seek(end)
                copy.write(_END)
            yield mended


def _end_of_data(file: BinaryIO) -> int | None:
    """Where the last whole record of the data ends; None where the file is complete."""
    size = file.seek(0, 2)
    if size < len(_MAGIC):
        raise ValueError("it is too short")
    file.seek(-len(_MAGIC), 2)
    complete = size >= len(_MAGIC) + len(_END) and file.read() == _MAGIC
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("it does not begin as an MCAP file does")
    if complete:
        return None
    at = len(_MAGIC)
    while at + _HEAD <= size:
        file.seek(at)
        head = file.read(_HEAD)
        end = at + _HEAD + int.from_bytes(head[1:], "little")
        if head[0] in (_DATA_END, _FOOTER) or end > size:
            break
        at = end
    return at


# ---------------------------------------------------------------------- what is wrong with it


def _check(path: Path, head: Any) -> None:
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise _foreign(path)
    if head["version"] != VERSION:
        raise UserError(
            f"{path} has format version {head['version']}, this robowm reads {VERSION}: use the robowm "
            "that recorded it."
        )


def _spec(path: Path, data: Mapping[str, Any]) -> TaskSpec:
    try:
        spec = TaskSpec.from_dict(data)
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from error
    for array in (*spec.observation.values(), *spec.privileged.values()):
        np.empty((0, *array.shape), array.dtype)  # raises where there are no such arrays
    return spec


def _check_sizes(record: Record, joints: int, actions: int) -> None:
    """Raise ValueError where a record is not of this arm or task: who reads on need not ask."""
    found: tuple[tuple[int, ...], ...] = ()
    expected: tuple[int | None, ...] = (None, joints)
    if isinstance(record, Observed):
        found, expected = (record.observation.q.shape, record.observation.dq.shape), (joints,)
    elif isinstance(record, Judged | Sent):
        found = record.chunk.q.shape, record.chunk.dq.shape
    elif isinstance(record, Planned):
        found, expected = (record.sequence.shape,), (None, actions)
    elif isinstance(record, Executed):
        found, expected = (record.action.shape,), (actions,)
    elif record.kind is Kind.RESULT and not isinstance(json.loads(record.message), dict):
        raise ValueError("a result is no JSON object")
    for shape in found:
        if len(shape) != len(expected) or shape[-1] != expected[-1]:
            raise ValueError(f"{type(record).__name__} has shape {shape} of {expected[-1]} numbers")


def _foreign(path: Path) -> UserError:
    return UserError(f"{path} holds no run of robowm: expected a bag that its recorder wrote.")


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Whatever is wrong with the bytes of a bag as one sentence: nobody can foresee what they may be."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} cannot be read as a bag ({words}): it is damaged, or no MCAP file of ROS 2."
        ) from error
