"""A recorder: every record of a run into an MCAP bag, beside the control loop and never in its way."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from robowm import __version__
from robowm.dispatch.arm import ArmSpec
from robowm.dispatch.record.bag_format import (
    FORMAT,
    RECORDING,
    RUN,
    VERSION,
    Encoder,
    is_picture,
)
from robowm.dispatch.record.records import Observed, Record, plain
from robowm.dispatch.wire.cdr import serialise, store
from robowm.dispatch.wire.messages import Message, Text
from robowm.errors import UserError
from robowm.spec import TaskSpec

logger = logging.getLogger(__name__)

FLUSH_S = 0.5  # what a killed process may lose, and some more
MIB = 2**20


@dataclasses.dataclass
class RecorderConfig:
    """Attributes:
    waiting_records: that may wait to be written; what comes beyond is left out.
    waiting_mib: of pictures that may wait; those beyond are left out, and the rest of their
      observations is kept.
    """

    waiting_records: int = 10_000
    waiting_mib: float = 64.0

    def __post_init__(self) -> None:
        if self.waiting_records < 1 or not self.waiting_mib >= 0:
            raise UserError(
                f"waiting_records is {self.waiting_records} and waiting_mib {self.waiting_mib}: give at "
                "least 1 record and 0 MiB."
            )


class Recorder(contextlib.AbstractContextManager["Recorder"]):
    """A listener of a run (:class:`robowm.dispatch.record.records.Listener`), whose thread writes.

    A bag is a folder as ``ros2 bag`` has it: FOLDER/NAME.mcap, and metadata.yaml once it is closed. What
    was written half a second ago outlives the process, and :mod:`robowm.dispatch.record.bag` reads a bag
    that was never closed.

    Args:
      folder: of the bag; must not be there yet, for what an arm did is not done a second time.
      spec: of the task.
      arm: whose joints are recorded.
      about: plain data: checkpoint, configuration and whatever else a reader may want to know.

    Attributes:
      dropped_pictures, dropped_records: left out: the disk did not keep up, or what was told has no
        shape that a message could have.

    Raises:
      UserError: where rosbags is not installed, or the bag cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        spec: TaskSpec,
        arm: ArmSpec,
        about: Mapping[str, Any] | None = None,
        config: RecorderConfig | None = None,
    ):
        self.folder = Path(folder)
        self._config = config or RecorderConfig()
        self.dropped_pictures = self.dropped_records = 0
        self._encode = Encoder(arm.joints)
        self._queue: queue.Queue[tuple[Record, int] | None] = queue.Queue(
            self._config.waiting_records
        )
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._closed = self._failed = False
        head = {
            "format": FORMAT,
            "version": VERSION,
            "robowm": __version__,
            "task": spec.task,
            "spec": spec.to_dict(),
            "arm": plain(arm),
            "about": plain(about or {}),
        }
        try:
            self._bag = _Bag(self.folder)
            self._bag.write(RUN, Text, _json(head), time.time_ns())
            self._bag.flush()
        except OSError as error:
            raise UserError(f"a bag cannot be made at {folder}: {error.strerror}.") from error
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The MCAP file."""
        return self.folder / f"{self.folder.name}.mcap"

    def __call__(self, record: Record) -> None:
        """Take a record; returns at once, whatever the disk does."""
        if self._closed or self._failed:
            return
        size = 0
        if isinstance(record, Observed):
            record, size = self._within_limit(record)
        try:
            self._queue.put_nowait((record, size))
        except queue.Full:
            self._release(size)
            self._drop("records", 1)

    def close(self) -> None:
        """Write what waits, then the index; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        while self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=0.1)
                break
        self._thread.join()
        lacks = self.dropped_pictures, self.dropped_records
        if any(lacks):
            logger.warning("%s lacks %d pictures and %d records", self.folder, *lacks)

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------- the control loop's side

    def _within_limit(self, record: Observed) -> tuple[Observed, int]:
        """The record, without its pictures where too many wait, and the bytes of those it has."""
        arrays = record.observation.arrays
        pictures = {name: array for name, array in arrays.items() if is_picture(array)}
        size = sum(array.nbytes for array in pictures.values())
        with self._lock:
            fits = self._waiting_bytes + size <= self._config.waiting_mib * MIB
            if fits:
                self._waiting_bytes += size
        if fits:
            return record, size
        self._drop("pictures", len(pictures))
        rest = {name: array for name, array in arrays.items() if name not in pictures}
        observation = dataclasses.replace(record.observation, arrays=rest)
        return dataclasses.replace(record, observation=observation), 0

    def _release(self, size: int) -> None:
        with self._lock:
            self._waiting_bytes -= size

    def _drop(self, what: str, count: int) -> None:
        name = f"dropped_{what}"
        with self._lock:
            before = getattr(self, name)
            setattr(self, name, before + count)
        if not before:
            logger.warning("%s: %s are being left out", self.folder, what)

    # ---------------------------------------------------------------- the thread's side

    def _run(self) -> None:
        try:
            while self._write_until(time.monotonic() + FLUSH_S):
                self._bag.flush()
            dropped = {k: getattr(self, k) for k in ("dropped_pictures", "dropped_records")}
            self._bag.write(RECORDING, Text, _json(dropped), time.time_ns())
            self._bag.close()
        except Exception as error:  # a full disk must not stop an arm
            self._failed = True
            logger.error("%s ends here, the recorder has failed: %s", self.folder, error)
            self._bag.abort()

    def _write_until(self, due_s: float) -> bool:
        """Write what comes until then; False at the end."""
        with contextlib.suppress(queue.Empty):
            while (left_s := due_s - time.monotonic()) > 0:
                if (item := self._queue.get(timeout=left_s)) is None:
                    return False
                record, size = item
                self._write(record)
                self._release(size)
                time.sleep(0)  # the control loop is let in between any two records
        return True

    def _write(self, record: Record) -> None:
        try:
            told = [(topic, type(m), serialise(m)) for topic, m in self._encode(record)]
        except Exception as error:  # arrays of no shape, as a fault may make them
            logger.warning("%s was left out of the bag: %s", type(record).__name__, error)
            self._drop("records", 1)
            return
        for topic, kind, data in told:
            self._bag.write(topic, kind, data, round(record.wall_s * 1e9))


class _Bag:
    """An MCAP file being written, its index last."""

    def __init__(self, folder: Path):
        store()  # says what to install
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
        from rosbags.rosbag2.storage_mcap import zstd

        if folder.exists():
            raise UserError(f"{folder} is there already: move it away, or record somewhere else.")
        self._writer = Writer(
            folder, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP
        )
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        # With a checksum, or a damaged picture would be a picture.
        self._storage = cast(Any, self._writer.storage)
        checksum = {int(zstd.CompressionParameter.checksum_flag): 1}
        self._storage.compressor = functools.partial(zstd.compress, options=checksum)
        self._connections: dict[str, Any] = {}
        self._last_ns = 0

    def write(
        self, topic: str, kind: type[Message], data: bytes | memoryview, wall_ns: int
    ) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind.ros, typestore=store()
            )
        # Readers sort by time: what came later must not seem to be earlier, however the clock is set.
        self._last_ns = max(wall_ns, self._last_ns + 1)
        self._writer.write(self._connections[topic], self._last_ns, data)

    def flush(self) -> None:
        """Hand everything to the operating system, where a killed process cannot lose it.

        rosbags does so only by the mebibyte, hence its storage is asked.
        """
        if self._storage.chunk.msgs:
            self._storage.close_chunk()
        self._storage.bio.flush()

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        with contextlib.suppress(Exception):
            self._writer.abort()


def _json(data: Mapping[str, Any]) -> bytes | memoryview:
    return serialise(Text(json.dumps(data, allow_nan=False)))
