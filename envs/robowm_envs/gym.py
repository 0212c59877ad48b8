"""The tasks under Gymnasium's interface.

>>> import gymnasium
>>> import robowm_envs.gym
>>> env = gymnasium.make("robowm/GraspRotatePlace-v0", observation="state")
>>> observation, info = env.reset(seed=0)

Keyword arguments of ``gymnasium.make`` are those of :func:`robowm_envs.make`. Observations are a
flat ``Dict`` of boxes, pictures uint8 with channels last, actions a box of [-1, 1]: the form that
Stable-Baselines3's ``MultiInputPolicy`` takes.

Many at once: ``gymnasium.make_vec("robowm/Reach-v0", 8)`` builds a
:class:`robowm_envs.vector.BatchedEnv`, one process that steps all of them;
``vectorization_mode="async"`` gives each a process of its own.
"""

from __future__ import annotations

from typing import Any

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from gymnasium import spaces

import robowm_envs

LAST_EPISODE = 2**31


class GymEnv(gymnasium.Env):
    """One task. ``info`` holds the environment's ``metrics()`` and ``is_success`` (bool).

    ``terminated`` means that nothing more can come of the episode (the object fell off the table),
    ``truncated`` that its time is over.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (as in the base)

    def __init__(
        self,
        task: str,
        *,
        render_mode: str | None = None,
        render_size: tuple[int, int] = (256, 256),
        **options: Any,
    ):
        """Build it.

        Args:
          task: a name that :func:`robowm_envs.make` knows.
          render_mode: ``"rgb_array"`` or None.
          render_size: height and width of what :meth:`render` returns, from the front camera.
          **options: those of :func:`robowm_envs.make`.
        """
        self.env = robowm_envs.make(task, **options)
        self.render_mode, self._render_size = render_mode, render_size
        self.metadata = {**type(self).metadata, "render_fps": round(1 / self.env.control_dt_s)}
        self.observation_space = observation_space(self.env)
        self.action_space = action_space(self.env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin episode number ``seed`` of the split.

        Without a seed the number is drawn from the generator that the last seed set, so that one
        seed fixes a whole run, and environments side by side do not play the same episodes.
        """
        super().reset(seed=seed)
        step = self.env.reset(seed=next_episode(self.np_random) if seed is None else seed)
        return step.observation, info(self.env)

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        step = self.env.step(action)
        return step.observation, step.reward, *ended(step), info(self.env)

    def render(self) -> np.ndarray | None:
        """uint8 [H, W, 3] from the front camera, or None where no render mode was chosen."""
        return None if self.render_mode is None else self.env.render("front", self._render_size)

    def close(self) -> None:
        self.env.close()


def next_episode(rng: np.random.Generator) -> int:
    return int(rng.integers(LAST_EPISODE))


def ended(step: dm_env.TimeStep) -> tuple[bool, bool]:
    """(terminated, truncated): dm_env says which by the discount of the last step."""
    return bool(step.last() and step.discount == 0.0), bool(step.last() and step.discount != 0.0)


def info(env: Any) -> dict[str, Any]:
    metrics = env.metrics()
    return {**metrics, "is_success": metrics["success"] > 0.5}


def observation_space(env: dm_env.Environment) -> spaces.Dict:
    return spaces.Dict({name: _box(spec) for name, spec in env.observation_spec().items()})


def action_space(env: dm_env.Environment) -> spaces.Box:
    return _box(env.action_spec())


def _box(spec: specs.Array) -> spaces.Box:
    low, high = getattr(spec, "minimum", -np.inf), getattr(spec, "maximum", np.inf)
    dtype = np.dtype(spec.dtype).type
    return spaces.Box(
        np.broadcast_to(low, spec.shape).astype(dtype),
        np.broadcast_to(high, spec.shape).astype(dtype),
        dtype=dtype,
    )


def gym_id(task: str) -> str:
    """``robowm/GraspRotatePlace-v0`` for ``grasp_rotate_place``."""
    return f"robowm/{''.join(word.capitalize() for word in task.split('_'))}-v0"


def register() -> None:
    """Make every task of :data:`robowm_envs.TASKS` known to Gymnasium; called on import."""
    for task in robowm_envs.TASKS:
        if gym_id(task) not in gymnasium.registry:
            gymnasium.register(
                gym_id(task),
                entry_point="robowm_envs.gym:GymEnv",
                vector_entry_point="robowm_envs.vector:BatchedEnv",
                kwargs={"task": task},
            )


register()
