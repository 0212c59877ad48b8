"""Steps of robowm's grasp_rotate_place, random actions, no reset among them.

With ``pictures`` two cameras of 64 x 64, without them the object's pose in their place.
"""

from __future__ import annotations

import protocol

answers, settings = protocol.quiet(), protocol.settings()

import mujoco
import numpy as np

import robowm
import robowm_envs
from robowm_envs import controller, scene

env = robowm_envs.make(
    "grasp_rotate_place", observation="pixels" if settings["pictures"] else "state"
)
rng = np.random.default_rng(0)
actions = rng.uniform(-1, 1, (settings["steps"], *env.action_spec().shape))


def steps() -> None:
    for action in actions:
        env.step(action)


protocol.serve(
    answers,
    {
        "name": "robowm",
        "version": robowm.__version__,
        "count": settings["steps"],
        "mujoco": mujoco.__version__,
        "control_hz": round(1 / controller.CONTROL_DT_S, 3),
        "physics_steps": round(controller.CONTROL_DT_S / scene.TIMESTEP_S),
        "cameras": 2 * settings["pictures"],
    },
    steps,
    prepare=lambda: env.reset(seed=0),
)
