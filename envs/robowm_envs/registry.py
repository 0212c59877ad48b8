"""Environments by the name of their task."""

from __future__ import annotations

from typing import Any

from robowm_envs import adapters
from robowm_envs.env import ManipulationEnv
from robowm_envs.errors import unknown
from robowm_envs.tasks import TASKS


def make(task: str, **options: Any) -> ManipulationEnv:
    """Build an environment; see :class:`ManipulationEnv` for the options.

    A name with a prefix is an environment of somebody else's: ``"dm_control/reacher_easy"``.

    Raises:
      EnvError: for an unknown task, split, camera or group, naming the near ones.
    """
    if "/" in task:
        return adapters.make(task, **options)
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    return ManipulationEnv(TASKS[task](), **options)
