"""Collecting on several machines, with Ray; see :mod:`robowm.data.collect`.

Shards travel as bytes, so the machines need no disk in common. Ray's processes trust each other with
pickles: a cluster is one user's, on a network of its own.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robowm.data.collect import CollectConfig, Collected, Job, Made, ShardWorker
from robowm.errors import UserError

CONNECT_S = 5.0


def run_workers(
    make: Made,
    config: CollectConfig,
    jobs: Sequence[Job],
    info: Mapping[str, Any],
    progress: Callable[[Collected | int], None] | None,
) -> None:
    """Write each job's shard; those that are done when something goes wrong are kept."""
    ray = _ray()
    address = config.cluster
    try:
        if address and ":" in address and "//" not in address:  # Ray itself asks for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), CONNECT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at cluster={address} ({error}): start one (`ray start --head` here, "
            "`ray start --address=HOST:PORT` on the others), or leave `cluster` out."
        ) from error
    try:
        actor = ray.remote(num_cpus=1, max_restarts=0)(_Worker)
        idle = [
            actor.remote(make, config, dict(info)) for _ in range(min(config.workers, len(jobs)))
        ]
        waiting, under_way = list(jobs), dict[Any, tuple[Job, Any]]()
        while waiting or under_way:
            while waiting and idle:
                job, worker = waiting.pop(0), idle.pop()
                under_way[worker.shard.remote(job.seeds)] = job, worker
            for done in ray.wait(list(under_way))[0]:
                job, worker = under_way.pop(done)
                _keep(job.path, _result(ray, done), progress)
                idle.append(worker)
    finally:
        ray.shutdown()


class _Worker:
    """In a process of the cluster."""

    def __init__(self, *arguments: Any):
        self._arguments = arguments
        self._shards: ShardWorker | None = None

    def shard(self, seeds: Sequence[int]) -> tuple[bytes, list[Collected]]:
        # Not made in __init__, whose errors Ray would tell as a death.
        if self._shards is None:
            self._shards = ShardWorker(*self._arguments)
        told: list[Collected] = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "shard.hdf5"
            self._shards.write(path, seeds, told.append)
            return path.read_bytes(), told


def _result(ray: Any, done: Any) -> Any:
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error  # what went wrong there, as it would have here
    except ray.exceptions.RayError as error:
        raise UserError(
            f"a machine of the cluster, or a worker on it, is gone ({type(error).__name__}): what is finished "
            "is kept, and the same command goes on."
        ) from error


def _keep(
    path: Path, result: tuple[bytes, list[Collected]], progress: Callable[..., None] | None
) -> None:
    data, told = result
    unfinished = path.with_name(f".{path.name}.cluster.new")
    unfinished.write_bytes(data)
    unfinished.replace(path)
    if progress:
        for collected in told:
            progress(collected)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError(
            f"Ray cannot be imported ({error}): pip install 'robowm[cluster]', or leave `cluster` out."
        ) from error
    return ray
