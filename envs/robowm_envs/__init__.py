"""Manipulation tasks in MuJoCo: a seven-joint arm, a table, an object, two cameras.

>>> import robowm_envs
>>> env = robowm_envs.make("grasp_rotate_place", split="test")
>>> step = env.reset(seed=0)
"""

from robowm_envs.env import ManipulationEnv
from robowm_envs.errors import EnvError
from robowm_envs.registry import make
from robowm_envs.tasks import TASKS

__all__ = ["TASKS", "EnvError", "ManipulationEnv", "make"]
