"""Arms by name: ``panda`` (our own), and ``menagerie/<folder>`` from the mujoco-menagerie package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from robowm_envs.arms import menagerie, panda
from robowm_envs.arms.protocol import Arm
from robowm_envs.errors import unknown

ARMS: Mapping[str, Callable[[], Arm]] = {
    "panda": panda.build,
    **{f"menagerie/{name}": partial(menagerie.build, name) for name in menagerie.LAYOUTS},
}


def build(name: str) -> Arm:
    """Build an arm by name; raises :class:`EnvError` for an unknown one."""
    if name not in ARMS:
        raise unknown("arm", name, ARMS)
    return ARMS[name]()


__all__ = ["ARMS", "Arm", "build"]
