"""Arms of the MuJoCo Menagerie, where the ``mujoco-menagerie`` package can fetch them."""

from __future__ import annotations

from robowm_envs.arms.protocol import Arm
from robowm_envs.errors import EnvError

GRIPPERS: dict[str, str] = {}


def build(name: str) -> Arm:
    raise EnvError(f"cannot load {name!r} yet")
