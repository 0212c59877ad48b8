"""Several processes that train one model: each learns from its share of a batch, gradients are averaged.

The update is the one that a single process would make with the whole batch, to rounding and to the
noise that each draws. On a CPU this is what a second core is good for: the operations of a small
model are too short to be divided among threads, its batch is not. The processes are this one's own
(:func:`launch`), or torchrun's, on one machine or several.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, distributed
from torch import multiprocessing as processes

from robowm.errors import UserError

MEMORY = Path("/dev/shm")  # files that are never written to a disk, where the system has them
PATIENCE = datetime.timedelta(minutes=30)  # the first may evaluate while the others wait


class Lost(RuntimeError):
    """Another process of the group is gone."""


class Group:
    """This process among ``size`` that train together, number ``rank`` of them; alone by default."""

    def __init__(self, rank: int = 0, size: int = 1, folder: str | None = None):
        """``folder``: where the processes see the same files, if they run on one machine."""
        self.rank, self.size, self._folder = rank, size, folder
        self._shared: dict[int, Tensor | None] = {}  # by how many numbers are averaged

    @property
    def is_first(self) -> bool:
        """The first alone logs, saves and heeds signals."""
        return self.rank == 0

    def share(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This process's rows of a batch that every process drew alike."""
        return {name: value[self.rank :: self.size] for name, value in batch.items()}

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes; to the bit the same in all of them."""
        if self.size == 1:
            return
        numbers = [tensor.flatten() for tensor in tensors]
        shared = self._memory(numbers)
        if shared is None:
            packed = torch.cat(numbers)
            with _noticing():
                distributed.all_reduce(packed)
            packed /= self.size
        else:
            packed = shared[0]
            torch.cat(numbers, out=shared[self.rank])
            self._meet()
            # No other process reads these columns, so that the mean may take the first one's place.
            ours = shared.tensor_split(self.size, dim=1)[self.rank]
            ours[0] = ours.mean(0)
            self._meet()
        parts = packed.split([tensor.numel() for tensor in tensors])
        views = [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]
        torch._foreach_copy_(list(tensors), views)
        if shared is not None:
            self._meet()  # until all have read it, nobody writes there again

    def _meet(self) -> None:
        """Wait for the others; as ``distributed.barrier``, but on the CPU where there is a GPU, too."""
        with _noticing():
            distributed.all_reduce(torch.zeros(()))

    def _memory(self, numbers: Sequence[Tensor]) -> Tensor | None:
        """A row for each process in memory that all of them see; none where that is not to be had.

        Gloo sends everything through sockets, which takes three times as long.
        """
        count = sum(tensor.numel() for tensor in numbers)
        if self._folder is None or any(
            (tensor.device.type, tensor.dtype) != ("cpu", torch.float32) for tensor in numbers
        ):
            return None
        if count not in self._shared:
            # All do as the first does: a memory that is too small kills who writes there.
            enough = self.of_first(4 * self.size * count < shutil.disk_usage(self._folder).free)
            self._shared[count] = self._mapped(self._folder, count) if enough else None
        return self._shared[count]

    def _mapped(self, folder: str, count: int) -> Tensor:
        path, size = f"{folder}/{count}", self.size * count
        shared = torch.from_file(path, shared=True, size=size).view(self.size, count)
        self._meet()
        if self.is_first:
            Path(path).unlink()  # all see it: nothing of it is left in memory, however they end
        return shared

    def of_first(self, number: int) -> int:
        """The first process's ``number``, in each."""
        if self.size == 1:
            return number
        told = torch.tensor(number)
        with _noticing():
            distributed.broadcast(told, 0)
        return int(told)


def torchrun_size() -> int:
    """How many processes torchrun started, of which this is one; 0 where it did not."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


@contextlib.contextmanager
def join_torchrun() -> Iterator[Group]:
    """The group of torchrun's processes, each on a device of its own where there are several.

    Raises :class:`UserError` where another of them ends before its time.
    """
    group = Group(int(os.environ["RANK"]), torchrun_size())
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    try:
        with _joined(group, "env://"):
            yield group
    except Lost as error:
        raise UserError(
            "another of torchrun's processes ended: the same command goes on from the last checkpoint."
        ) from error


def leave(code: int) -> NoReturn:
    """End this process, one of several that trained together, at once.

    Python's own end stops every thread that asks for the interpreter. Where it is one of Gloo's, which may
    not have let go of its last tensor yet, the process aborts ("terminate called without an active
    exception", as in pytorch/pytorch#179291), and torchrun takes the whole training for failed.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextlib.contextmanager
def launch(size: int, follow: Callable[..., object], *arguments: Any) -> Iterator[Group]:
    """The group of this process and ``size - 1`` new ones, which call ``follow(group, *arguments)``.

    Raises :class:`UserError` where one of them ends before its time.
    """
    if size == 1:
        yield Group()
        return
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        meeting = f"file://{folder}/meeting"
        others = processes.start_processes(
            _follow, (size, folder, meeting, follow, arguments), size - 1, join=False, daemon=True
        ).processes
        try:
            with _joined(Group(0, size, folder), meeting) as group:
                yield group
        except Lost as error:
            for other in others:
                other.join(5)
            codes = [str(other.exitcode) for other in others if other.exitcode is not None]
            raise UserError(
                f"another of the {size} processes that train together ended (exit code "
                f"{', '.join(codes) or 'unknown'}): the same command goes on from the last checkpoint; "
                "where memory is short, use learning.processes=1 and another `out`."
            ) from error
        finally:
            for other in others:
                other.join(5)
                other.kill()


def _follow(
    index: int,
    size: int,
    folder: str,
    meeting: str,
    follow: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    try:
        with _joined(Group(index + 1, size, folder), meeting) as group:
            follow(group, *arguments)
    except (UserError, Lost):  # the first process meets the same error and says so, or is gone
        sys.exit(1)


@contextlib.contextmanager
def _noticing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # all that Gloo raises
        raise Lost(str(error)) from error


@contextlib.contextmanager
def _joined(group: Group, meeting: str) -> Iterator[Group]:
    # Gloo listens where the host's name points to, unless told: among this machine's own processes that
    # is nobody else's business.
    if os.environ.get("LOCAL_WORLD_SIZE", str(group.size)) == str(group.size):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        init_method=meeting, rank=group.rank, world_size=group.size, timeout=PATIENCE,
    )  # fmt: skip
    try:
        yield group
    finally:
        distributed.destroy_process_group()
