"""Demonstrations with recoveries: an expert drives, disturbances push, and both actions are kept.

The expert's action at each observation is the label beside the action executed, so that a policy
learns the way back from mistakes. Failures are kept, for the model must know what failing looks like.

Environment and expert come in as factories, so nothing here knows a simulator. An episode follows from its
seed and the settings alone: any number of workers, stopped and started again, makes the same data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import multiprocessing
import os
import queue
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robowm.data.disturbance import Disturbance, DisturbanceConfig
from robowm.data.episode import Array, Episode
from robowm.data.store import SUFFIX, Dataset, EpisodeWriter, open_dataset, shards_of
from robowm.errors import UserError, unknown
from robowm.spec import TaskSpec

SPLITS = ("train", "validation")  # what agents are tested on is not collected


class Expert(Protocol):
    """Acts from the true state of the environment it was made for."""

    def reset(self) -> None: ...

    def act(self, observation: dict[str, Array] | None = None) -> NDArray[np.float32]: ...


class Driver(Protocol):
    """Acts from what it is shown."""

    def reset(self) -> None: ...

    def act(self, observation: dict[str, Array]) -> NDArray[np.float32]: ...


MakeEnv = Callable[[], Any]  # () -> dm_env.Environment with metrics(); get_state, privileged if any
MakeExpert = Callable[[Any], Expert]
MakeDriver = Callable[[Any], Driver]


@dataclasses.dataclass
class CollectConfig:
    """What to collect, and how.

    Attributes:
      episodes: how many there shall be in the end, those of earlier runs included.
      seed: of the first episode; the others follow.
      split: of the environment, one of :data:`SPLITS`.
      workers: processes, on this machine or on those of the cluster.
      cluster: address of a Ray cluster whose machines collect: ``auto`` for one that this machine belongs
        to, or HOST:PORT; each has robowm installed. None: this machine collects.
      shard_episodes: at most so many in a file; a kill loses the unfinished file of each worker.
      extra_steps: steps recorded after success was held; then the episode is cut short.
      max_steps: at which an episode is broken off, how it would have ended unknown: glimpses of many
        starts, from which a model learns to see at a hundredth of the price. None: none is.
      compression: ``gzip``, or ``none``: seven times larger, streamed four times faster.
    """

    episodes: int = 400
    seed: int = 0
    split: str = "train"
    workers: int = 2
    cluster: str | None = None
    shard_episodes: int = 25
    extra_steps: int = 8
    max_steps: int | None = None
    compression: str = "gzip"
    disturbance: DisturbanceConfig = dataclasses.field(default_factory=DisturbanceConfig)

    def check(self) -> None:
        """Raise :class:`UserError` on a value that cannot be meant."""
        if self.split not in SPLITS:
            raise unknown("split to collect", self.split, SPLITS)
        for name in ("episodes", "workers", "shard_episodes", "max_steps"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name} is {value}: give at least 1.")
        for name in ("seed", "extra_steps"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}: give 0 or more.")
        self.disturbance.check()


class OnlineCollector:
    """One more episode at each call, driven by what is being learned and labelled by the expert.

    Args:
      env: to act in; closed by whoever made it.
      make_driver: the agent of now; called for each episode.
      seed: of the first episode; the others follow.
    """

    def __init__(
        self,
        env: Any,
        make_expert: MakeExpert,
        make_driver: Callable[[], Driver],
        disturbance: DisturbanceConfig,
        seed: int,
    ):
        disturbance.check()
        self._env, self._expert, self._make_driver = env, make_expert(env), make_driver
        self._disturbance, self._seed = disturbance, seed

    def __call__(self) -> list[Episode]:
        seed, self._seed = self._seed, self._seed + 1
        return [
            collect_episode(
                self._env, self._expert, seed, self._disturbance, driver=self._make_driver()
            )
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self._seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._seed = state["seed"]


@dataclasses.dataclass(frozen=True)
class Collected:
    """Told of each episode as it ends.

    Attributes:
      seed: of the episode.
      steps: T.
      success: at the last observation.
      seconds: that it took.
    """

    seed: int
    steps: int
    success: bool
    seconds: float


def collect_episode(
    env: Any,
    expert: Expert,
    seed: int,
    disturbance: DisturbanceConfig | None = None,
    extra_steps: int | None = 8,
    driver: Driver | None = None,
    max_steps: int | None = None,
) -> Episode:
    """One episode of ``env``, driven by ``expert`` or ``driver`` and pushed by ``disturbance``.

    The labels are the expert's, whoever drives (DAgger, Ross et al. 2011, arXiv:1011.0686).

    It ends with the world, at the time limit, or once success has lasted ``extra_steps`` steps
    (None: goes on to the time limit). Broken off at ``max_steps``, it says so in its ``info``.
    """
    spec = TaskSpec.from_env(env)
    split = str(getattr(env, "split", "train"))
    stream = np.random.default_rng([zlib.crc32(f"disturbance/{split}".encode()), seed])
    disturb = Disturbance(disturbance or DisturbanceConfig(clean=1.0), spec.action, stream)
    step = env.reset(seed=seed)
    expert.reset()
    if driver is not None:
        driver.reset()
    track = _Track(env, step.observation)
    succeeded = 0
    done = broken_off = False
    while not (done or broken_off):
        label = np.asarray(expert.act(step.observation), np.float32)
        action = disturb(label if driver is None else driver.act(step.observation))
        step = env.step(action)
        track.add(step, action, label)
        succeeded = succeeded + 1 if track.success[-1] else 0
        done = step.last() or (extra_steps is not None and succeeded > extra_steps)
        broken_off = not done and len(track) == max_steps
    info = {
        "task": spec.task,
        "split": split,
        "seed": seed,
        "noise": disturb.noise,
        "bursts": disturb.bursts,
        "broken_off": broken_off,
    }
    return track.episode(terminal=step.last() and step.discount == 0.0, info=info)


class _Track:
    """What an environment shows, step by step, until it is an episode."""

    def __init__(self, env: Any, observation: Mapping[str, Array]):
        self._env = env
        self._actions: list[Array] = []
        self._labels: list[Array] = []
        self._rewards: list[float] = []
        self._observations: list[dict[str, Array]] = []
        self._privileged: list[dict[str, Array]] = []
        self._states: list[Array] = []
        self.success: list[float] = []
        self._look(observation)

    def __len__(self) -> int:
        return len(self._actions)

    def add(self, step: Any, action: Array, label: Array) -> None:
        self._actions.append(action)
        self._labels.append(label)
        self._rewards.append(float(step.reward))
        self._look(step.observation)

    def _look(self, observation: Mapping[str, Array]) -> None:
        env = self._env
        self._observations.append(dict(observation))
        self._privileged.append(env.privileged() if hasattr(env, "privileged") else {})
        self._states.append(env.get_state() if hasattr(env, "get_state") else np.zeros(0))
        self.success.append(float(env.metrics()["success"] > 0.5))

    def episode(self, terminal: bool, info: dict[str, Any]) -> Episode:
        def stacked(rows: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
            return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

        return Episode(
            observations=stacked(self._observations),
            actions=np.stack(self._actions).astype(np.float32),
            expert_actions=np.stack(self._labels).astype(np.float32),
            rewards=np.asarray(self._rewards, np.float32),
            terminal=bool(terminal),
            success=np.asarray(self.success, np.float32),
            privileged=stacked(self._privileged),
            states=np.stack(self._states).astype(np.float64),
            info=info,
        )


def collect(
    make_env: MakeEnv,
    make_expert: MakeExpert,
    config: CollectConfig,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[Collected | int], None] | None = None,
    make_driver: MakeDriver | None = None,
) -> Dataset:
    """Collect into the folder ``out`` the episodes that it does not hold yet.

    Args:
      make_env, make_expert: picklable; each worker calls them once.
      make_driver: of who acts in the expert's place, while the expert labels; picklable too.
      settings: plain data that names the environment; compared with that of earlier runs.
      progress: told first how many episodes are there already, then of each new one.

    Raises:
      UserError: where ``out`` holds data of other settings or damaged data, where another process
        collects into it, or where a worker dies.
    """
    config.check()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    made_with = {
        "made_by": "collect",
        "split": config.split,
        "extra_steps": config.extra_steps,
        **({} if config.max_steps is None else {"max_steps": config.max_steps}),
        "disturbance": dataclasses.asdict(config.disturbance),
        **(settings or {}),
    }
    info = json.loads(json.dumps(made_with))  # tuples become lists, as they will be read
    with _only_one_in(out):
        for left_over in out.glob(f".*{SUFFIX}.*.new"):
            left_over.unlink()
        have = _seeds_in(out, info)
        missing = [s for s in range(config.seed, config.seed + config.episodes) if s not in have]
        if progress:
            progress(config.episodes - len(missing))
        if missing:
            made = Made(make_env, make_expert, make_driver)
            run = _run_workers
            if config.cluster is not None:
                from robowm.data import cluster

                run = cluster.run_workers
            run(made, config, _jobs(out, missing, config), info, progress)
    return open_dataset(out)


def _seeds_in(out: Path, info: Mapping[str, Any]) -> set[int]:
    if not shards_of(out):
        return set()
    dataset = open_dataset(out)
    for path, found in dataset.infos.items():
        for name in sorted(set(found) | set(info)):
            if found.get(name) != info.get(name):
                raise UserError(
                    f"{path} was collected with {name}={found.get(name)}, not {info.get(name)}: give "
                    "the same settings to go on, or another `out`."
                )
    return {int(episode.info["seed"]) for episode in dataset.episodes}


@dataclasses.dataclass(frozen=True)
class Job:
    """One shard to write."""

    path: Path
    seeds: tuple[int, ...]


def _jobs(out: Path, missing: Sequence[int], config: CollectConfig) -> list[Job]:
    """The missing seeds, in shards small enough that each worker gets a few."""
    size = min(config.shard_episodes, -(-len(missing) // (2 * config.workers)))
    taken = {path.name for path in shards_of(out)}
    names = (f"shard_{i:05d}{SUFFIX}" for i in range(len(taken) + len(missing)))
    free = (name for name in names if name not in taken)
    return [
        Job(out / next(free), tuple(missing[i : i + size])) for i in range(0, len(missing), size)
    ]


@dataclasses.dataclass(frozen=True)
class Made:
    """What each worker makes, once."""

    env: MakeEnv
    expert: MakeExpert
    driver: MakeDriver | None


def _run_workers(
    make: Made,
    config: CollectConfig,
    jobs: Sequence[Job],
    info: Mapping[str, Any],
    progress: Callable[[Collected | int], None] | None,
) -> None:
    # spawn: a forked child inherits a dead OpenGL context.
    context = multiprocessing.get_context("spawn")
    news: Any = context.Queue()
    stop = context.Event()
    arguments = (make, config, dict(info), news, stop)
    pool = ProcessPoolExecutor(min(config.workers, len(jobs)), context, _set_up, arguments)
    try:
        futures = [pool.submit(_write_shard, job) for job in jobs]
        for collected in _until_done(futures, news):
            if progress:
                progress(collected)
    except BrokenProcessPool as error:
        raise UserError(
            "a collecting worker died, most likely for lack of memory: use fewer workers; what is "
            "finished is kept, and the same command goes on."
        ) from error
    finally:
        stop.set()  # workers end the episode they are at, and write what they have
        pool.shutdown(wait=True, cancel_futures=True)


def _until_done(futures: Sequence[Future[None]], news: Any) -> Iterator[Collected]:
    """What workers tell, until all shards are written; raises what a worker raised."""
    while True:
        done = all(future.done() for future in futures)
        with contextlib.suppress(queue.Empty):
            while True:
                yield news.get(timeout=0.0 if done else 0.2)
        for future in futures:
            if future.done():
                future.result()
        if done:
            return


_worker: dict[str, Any] = {}


def _set_up(
    make: Made,
    config: CollectConfig,
    info: dict[str, Any],
    news: Any,
    stop: Any,
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.update(make=make, config=config, info=info, news=news, stop=stop)


def _end_with_parent() -> None:
    """A pool's workers outlive a parent that is killed; these do not."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _write_shard(job: Job) -> None:
    if "shards" not in _worker:
        # Built in the first job rather than at set-up, so that its errors reach the parent.
        _worker["shards"] = ShardWorker(_worker["make"], _worker["config"], _worker["info"])
    _worker["shards"].write(job.path, job.seeds, _worker["news"].put, _worker["stop"].is_set)


class ShardWorker:
    """Writes shards, in an environment of its own."""

    def __init__(self, make: Made, config: CollectConfig, info: Mapping[str, Any]):
        self._config, self._info = config, info
        self._env = make.env()
        self._expert = make.expert(self._env)
        self._driver = None if make.driver is None else make.driver(self._env)

    def write(
        self,
        path: Path,
        seeds: Sequence[int],
        tell: Callable[[Collected], object],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """The episodes of ``seeds``, or those that there were before it was stopped."""
        env, config = self._env, self._config
        xml = env.model_xml() if hasattr(env, "model_xml") else ""
        spec = TaskSpec.from_env(env)
        with EpisodeWriter(path, spec, self._info, xml, config.compression) as writer:
            for seed in seeds:
                if stopped():
                    return
                began = time.perf_counter()
                episode = collect_episode(
                    env,
                    self._expert,
                    seed,
                    config.disturbance,
                    config.extra_steps,
                    self._driver,
                    config.max_steps,
                )
                writer.add(episode)
                seconds = time.perf_counter() - began
                tell(Collected(seed, len(episode), bool(episode.success[-1]), seconds))


@contextlib.contextmanager
def _only_one_in(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for this process; the lock goes with the process, however it ends."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process collects into {folder}: wait for it, stop it, or give another `out`."
            ) from None
        yield
