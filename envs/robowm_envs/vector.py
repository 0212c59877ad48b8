"""Many environments at once, under Gymnasium's vector interface.

:class:`BatchedEnv` holds them in one process: MuJoCo's thread pool steps the physics of all of them
(``mujoco.batch.Batch``), one renderer draws them. :class:`ProcessVectorEnv` gives each its own
process. Both return, to the bit, what the same number of :class:`robowm_envs.gym.GymEnv` would:

- ``reset(seed=s)`` starts episode ``s + i`` of the split in environment i, ``seed=[s0, s1, ...]``
  those; later episodes are drawn by a generator that each environment's seed sets;
- an environment whose episode has ended is reset by the next ``step``, which passes over its action
  and returns its first observation with reward 0 (Gymnasium's ``AutoresetMode.NEXT_STEP``);
- the arrays returned are the caller's own.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import dm_env
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from mujoco.batch import Batch

import robowm_envs
from robowm_envs import gym
from robowm_envs.cameras import Painter
from robowm_envs.errors import EnvError


class BatchedEnv(VectorEnv):
    """``num_envs`` environments of one task in this process.

    Attributes:
      envs: the environments; each may be looked at, or given another state, between steps.
    """

    def __init__(
        self,
        task: str,
        num_envs: int,
        *,
        threads: int = 0,
        render_mode: str | None = None,
        render_size: tuple[int, int] = (256, 256),
        **options: Any,
    ):
        """Build them.

        Args:
          task: a task of :data:`robowm_envs.TASKS`; an adapter's tasks cannot be stepped together.
          num_envs: how many.
          threads: that step the physics, this one included; 0 takes every core.
          render_mode: ``"rgb_array"`` or None.
          render_size: height and width of what :meth:`render` returns.
          **options: those of :func:`robowm_envs.make`.

        Raises:
          EnvError: as :func:`robowm_envs.make` does, for an adapter's task, and for no environment.
        """
        if num_envs < 1:
            raise EnvError(f"num_envs is {num_envs}: choose 1 or more.")
        if task.partition("/")[1]:
            raise EnvError(
                f"task {task!r} belongs to an adapter, whose physics cannot be stepped together: "
                "use ProcessVectorEnv."
            )
        self._painter = Painter()
        self.envs = [
            robowm_envs.make(task, painter=self._painter, **options) for _ in range(num_envs)
        ]
        self.num_envs = num_envs
        self.render_mode, self._render_size = render_mode, render_size
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": round(1 / self.envs[0].control_dt_s),
            "autoreset_mode": AutoresetMode.NEXT_STEP,
        }
        self.single_observation_space = gym.observation_space(self.envs[0])
        self.single_action_space = gym.action_space(self.envs[0])
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._batch = Batch(self.envs[0].physics.model, num_envs, threads)
        self._rngs = [seeding.np_random()[0] for _ in range(num_envs)]
        self._last: list[dm_env.TimeStep] = []

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode everywhere; see the module for what the seed does."""
        seeds: list[int | None]
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise EnvError(
                f"{len(seeds)} seeds were given for {self.num_envs} environments: give as many."
            )
        for i, number in enumerate(seeds):
            if number is not None:
                self._rngs[i] = seeding.np_random(int(number))[0]
        self._last = [self._restart(i, number) for i, number in enumerate(seeds)]
        self._read_models()
        return self._observations(), self._infos()

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Act everywhere, with ``actions`` [N, A].

        Returns:
          observations [N, ...], rewards [N] float64, terminated [N], truncated [N], infos.

        Raises:
          EnvError: before the first reset, or for actions that are none; then nothing has moved.
        """
        if not self._last:
            raise EnvError("the environments were never reset: call reset() before step().")
        actions = self._validated(actions)
        over = [step.last() for step in self._last]
        running = [i for i in range(self.num_envs) if not over[i]]
        if running:
            controls = [self.envs[i].begin_step(actions[i]) for i in running]
            self._simulate(running, np.stack(controls))
        for i in running:
            self._last[i] = self.envs[i].finish_step()
        if any(over):
            for i in range(self.num_envs):
                if over[i]:
                    self._last[i] = self._restart(i, None)
            self._read_models()
        rewards = np.array([step.reward or 0.0 for step in self._last])
        terminated, truncated = np.array([gym.ended(step) for step in self._last]).T.copy()
        return self._observations(), rewards, terminated, truncated, self._infos()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture uint8 [H, W, 3] of each, or None where no render mode was chosen."""
        if self.render_mode is None:
            return None
        return tuple(env.render("front", self._render_size) for env in self.envs)

    def close_extras(self, **kwargs: Any) -> None:
        self._painter.close()

    def _simulate(self, running: list[int], controls: np.ndarray) -> None:
        """A time step for each row of controls [n, substeps, nu] in the environments running."""
        for i in running:
            self._batch.state[i] = self.envs[i].physics.get_state()
        self._batch.rollout(controls.shape[1], controls, record=(), ids=running)
        for i in running:
            self.envs[i].physics.set_state(self._batch.state[i])

    def _read_models(self) -> None:
        # A restart writes masses and sizes into an environment's model; the batch looks only here.
        self._batch.set_models([env.physics.model for env in self.envs])

    def _restart(self, i: int, episode: int | None) -> dm_env.TimeStep:
        episode = gym.next_episode(self._rngs[i]) if episode is None else int(episode)
        return self.envs[i].reset(seed=episode)

    def _observations(self) -> dict[str, np.ndarray]:
        seen = [step.observation for step in self._last]
        return {name: np.stack([one[name] for one in seen]) for name in seen[0]}

    def _infos(self) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for i, env in enumerate(self.envs):
            infos = self._add_info(infos, gym.info(env), i)
        return infos

    def _validated(self, actions: np.ndarray) -> np.ndarray:
        actions = np.asarray(actions, np.float32)
        if actions.shape != self.action_space.shape:
            raise EnvError(
                f"actions have shape {actions.shape}, expected {self.action_space.shape}."
            )
        bad = np.flatnonzero(~(np.abs(actions) <= 1 + 1e-6).all(axis=1))  # NaN compares false
        if bad.size:
            raise EnvError(
                f"the actions of environments {bad.tolist()} are no finite numbers in [-1, 1]: "
                "scale them before sending."
            )
        return actions


class ProcessVectorEnv(AsyncVectorEnv):
    """Environments in a process each: Gymnasium's own, observations in shared memory.

    The processes are spawned, since a forked one would inherit a renderer that it cannot use; a
    script that builds this must therefore guard its entry by ``if __name__ == "__main__"``.
    """

    def __init__(self, task: str, num_envs: int, **options: Any):
        """``options`` are those of :class:`robowm_envs.gym.GymEnv`, and so are the errors."""
        if num_envs < 1:
            raise EnvError(f"num_envs is {num_envs}: choose 1 or more.")
        build = functools.partial(gym.GymEnv, task, **options)
        super().__init__([build] * num_envs, context="spawn")
