"""Agents in environments: one episode a seed, measured the same way for every agent."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from robowm.errors import UserError
from robowm.evaluation.failures import cause
from robowm.evaluation.metrics import FLAGS

logger = logging.getLogger(__name__)


class Agent(Protocol):
    """Anything that acts. ``seed(n)``, where an agent has it, fixes its random choices, and
    ``constrain(*constraints)`` tells it what each episode forbids. With ``act_together(observations)``
    it acts in several worlds at once."""

    def reset(self) -> None: ...

    def act(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]: ...


MakeEnv = Callable[[], Any]  # () -> dm_env.Environment with metrics()
MakeAgent = Callable[[Any], Agent]  # the environment, for agents that read its true state


@dataclasses.dataclass
class EpisodeResult:
    """What one episode came to.

    Attributes:
      seed: of the environment's reset.
      episode_return: sum of rewards.
      success: at the end; ``latched_success`` at any step.
      position_error_m, rotation_error_rad: at the end, NaN where the task has none.
      position_fits, rotation_fits: at the end, whether these errors are small enough for success.
      grasped, lifted, dropped: at any step, None where the task has none.
      entered, out_of_order: what some tasks forbid, at any step.
      steps: actions taken.
      latency_ms: [steps], wall time of each ``act``.
      actions: [steps, A], with the seed enough to film the episode afterwards.
    """

    seed: int
    episode_return: float
    success: bool
    latched_success: bool
    position_error_m: float
    rotation_error_rad: float
    position_fits: bool
    rotation_fits: bool
    grasped: bool | None
    lifted: bool | None
    dropped: bool | None
    steps: int
    latency_ms: NDArray[np.float64]
    actions: NDArray[np.float32]
    entered: bool | None = None
    out_of_order: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: NaN becomes None, latencies their mean and tail, actions go."""
        row = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("latency_ms", "actions")
        }
        row["return"] = row.pop("episode_return")
        row["cause"] = cause(self)
        row["ms_per_action"] = float(self.latency_ms.mean()) if self.steps else math.nan
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}


def run_episode(env: Any, agent: Agent, seed: int) -> EpisodeResult:
    """One episode. It depends on the seed alone, not on the episodes or the process before it."""
    return run_together([env], agent, [seed])[0]


def run_together(envs: Sequence[Any], agent: Any, seeds: Sequence[int]) -> list[EpisodeResult]:
    """One episode in each environment, side by side; they depend on these seeds alone.

    The latency of an action is that of the call for all of them, shared out.
    """
    torch.manual_seed(seeds[0])
    logs = [_Log(env, seed) for env, seed in zip(envs, seeds, strict=True)]
    if hasattr(agent, "seed"):
        agent.seed(seeds[0])
    agent.reset()
    if hasattr(agent, "constrain"):
        agent.constrain(*(env.constraints() if hasattr(env, "constraints") else {} for env in envs))
    while not all(log.step.last() for log in logs):
        observations = [log.step.observation for log in logs]
        started = time.perf_counter()
        if len(logs) == 1:
            actions = np.array(agent.act(observations[0]), np.float32)[None]
        else:
            actions = np.array(agent.act_together(observations), np.float32)
        ms = (time.perf_counter() - started) * 1e3 / len(logs)
        for log, action in zip(logs, actions, strict=True):
            if not log.step.last():
                log.add(action, ms)
    return [log.result() for log in logs]


class _Log:
    """An episode as it goes on."""

    def __init__(self, env: Any, seed: int):
        self.env, self.seed = env, seed
        self.step = env.reset(seed=seed)
        self._return, self._latched = 0.0, False
        self._latency: list[float] = []
        self._actions: list[NDArray[np.float32]] = []

    def add(self, action: NDArray[np.float32], ms: float) -> None:
        self._actions.append(action)
        self._latency.append(ms)
        self.step = self.env.step(action)
        self._return += float(self.step.reward or 0.0)
        self._latched = self._latched or self.env.metrics()["success"] > 0.5

    def result(self) -> EpisodeResult:
        final, steps = self.env.metrics(), len(self._actions)
        flags = {name: bool(final[name] > 0.5) if name in final else None for name in FLAGS}
        return EpisodeResult(
            seed=self.seed,
            episode_return=self._return,
            success=final["success"] > 0.5,
            latched_success=self._latched,
            position_error_m=float(final.get("position_error_m", math.nan)),
            rotation_error_rad=float(final.get("rotation_error_rad", math.nan)),
            position_fits=final.get("position_fits", 0.0) > 0.5,
            rotation_fits=final.get("rotation_fits", 0.0) > 0.5,
            steps=steps,
            latency_ms=np.asarray(self._latency),
            actions=np.asarray(self._actions, np.float32).reshape(steps, -1),
            **flags,
        )


def evaluate(
    make_env: MakeEnv,
    make_agent: MakeAgent,
    episodes: int,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[EpisodeResult], None] | None = None,
    batch: int = 1,
) -> list[EpisodeResult]:
    """Episodes ``seed`` to ``seed + episodes - 1``, in the order of their seeds.

    An agent that can act in several worlds at once is given up to ``batch`` of them: the same
    arithmetic in fewer, larger pieces.

    With ``workers`` > 1 each process builds its own environment and agent, so both factories must
    be importable functions (or ``functools.partial`` of such), and each uses one torch thread.
    ``progress`` is told of each episode as it ends.
    """
    if episodes < 1 or workers < 1 or batch < 1:
        raise UserError(
            f"an evaluation of {episodes} episodes on {workers} workers in batches of {batch}: give at "
            "least 1 of each."
        )
    workers = min(workers, episodes)
    rounds = math.ceil(episodes / (batch * workers))
    count = min(rounds * workers, episodes)  # of batches, as many for each worker
    parts = np.array_split(np.arange(seed, seed + episodes), count)
    batches = [[int(s) for s in part] for part in parts]
    if workers == 1:
        run = _in_this_process(make_env, make_agent, batches)
    else:
        run = _in_workers(make_env, make_agent, batches, workers)
    results = []
    for result in run:
        results.append(result)
        if progress is not None:
            progress(result)
    return sorted(results, key=lambda result: result.seed)


def film(
    make_env: MakeEnv,
    result: EpisodeResult,
    camera: str = "front",
    size: tuple[int, int] = (192, 192),
) -> NDArray[np.uint8]:
    """The frames [T+1, H, W, 3] of an episode, by playing its actions again from its seed.

    Episodes are deterministic, so nothing need be drawn while agents are timed, and any episode
    can be shown at any size.
    """
    env = make_env()
    try:
        env.reset(seed=result.seed)
        frames = [env.render(camera, size)]
        for action in result.actions:
            env.step(action)
            frames.append(env.render(camera, size))
        if (env.metrics()["success"] > 0.5) != result.success:
            # Not an error of the user's: an environment that breaks the promise of determinism.
            logger.warning("episode %d went differently when it was filmed", result.seed)
    finally:
        _close(env)
    return np.stack(frames)


class _Runner:
    """The environments and the agent of one process."""

    def __init__(self, make_env: MakeEnv, make_agent: MakeAgent):
        self._make_env = make_env
        self._envs = [make_env()]
        try:
            self._agent = make_agent(self._envs[0])
        except BaseException:
            self.close()
            raise

    def run(self, seeds: Sequence[int]) -> Iterator[EpisodeResult]:
        if hasattr(self._agent, "act_together"):
            while len(self._envs) < len(seeds):
                self._envs.append(self._make_env())
            yield from run_together(self._envs[: len(seeds)], self._agent, seeds)
        else:
            yield from (run_episode(self._envs[0], self._agent, seed) for seed in seeds)

    def close(self) -> None:
        for env in self._envs:
            _close(env)


def _in_this_process(
    make_env: MakeEnv, make_agent: MakeAgent, batches: Sequence[Sequence[int]]
) -> Iterator[EpisodeResult]:
    with contextlib.closing(_Runner(make_env, make_agent)) as runner:
        for seeds in batches:
            yield from runner.run(seeds)


def _in_workers(
    make_env: MakeEnv, make_agent: MakeAgent, batches: Sequence[Sequence[int]], workers: int
) -> Iterator[EpisodeResult]:
    # spawn: a forked child inherits a dead OpenGL context and torch's thread pool.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _set_up_worker, (make_env, make_agent))
    try:
        futures = [pool.submit(_run_in_worker, seeds) for seeds in batches]
        for future in as_completed(futures):
            yield from future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "an evaluation worker died, most likely for lack of memory: use fewer workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: dict[str, Any] = {}


def _set_up_worker(make_env: MakeEnv, make_agent: MakeAgent) -> None:
    torch.set_num_threads(1)
    _worker.update(make_env=make_env, make_agent=make_agent)


def _run_in_worker(seeds: Sequence[int]) -> list[EpisodeResult]:
    if "runner" not in _worker:
        # Built in the first task rather than at start-up, so that its errors reach the parent.
        _worker["runner"] = _Runner(_worker["make_env"], _worker["make_agent"])
    return list(_worker["runner"].run(seeds))


def _close(env: Any) -> None:
    if hasattr(env, "close"):
        env.close()
