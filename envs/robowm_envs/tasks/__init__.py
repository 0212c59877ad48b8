"""Tasks by name."""

from __future__ import annotations

from collections.abc import Mapping

from robowm_envs.tasks.base import Goal, Start, Task
from robowm_envs.tasks.grasp import Grasp
from robowm_envs.tasks.keep_out import KeepOut
from robowm_envs.tasks.place import GraspRotatePlace, Slip
from robowm_envs.tasks.reach import Reach
from robowm_envs.tasks.reorient import Reorient
from robowm_envs.tasks.sort import Sort
from robowm_envs.tasks.stack import Stack

_ALL: tuple[type[Task], ...] = (
    Reach, Grasp, GraspRotatePlace, Slip, KeepOut, Stack, Sort, Reorient,
)  # fmt: skip
TASKS: Mapping[str, type[Task]] = {task.name: task for task in _ALL}

__all__ = [
    "TASKS",
    "Goal",
    "Grasp",
    "GraspRotatePlace",
    "KeepOut",
    "Reach",
    "Reorient",
    "Slip",
    "Sort",
    "Stack",
    "Start",
    "Task",
]
