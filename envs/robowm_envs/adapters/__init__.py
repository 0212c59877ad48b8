"""Environments that others wrote, behind the interface of this package.

Their tasks are named ``<adapter>/<task>``, as in ``make("dm_control/reacher_easy")``. An adapter is
a function ``make(task, *, observation, split, seed, cameras, image_size)``; its module is imported
when it is asked for, and adding one is a line in :data:`ADAPTERS`.
"""

from __future__ import annotations

import importlib
from typing import Any

from robowm_envs.errors import unknown

ADAPTERS = {"dm_control": "robowm_envs.adapters.dm_control:make"}


def make(task: str, **options: Any) -> Any:
    """Build ``<adapter>/<task>``; raises :class:`EnvError` where either is unknown."""
    prefix, _, name = task.partition("/")
    if prefix not in ADAPTERS:
        raise unknown("adapter", prefix, ADAPTERS)
    module, _, function = ADAPTERS[prefix].partition(":")
    return getattr(importlib.import_module(module), function)(name, **options)
