"""Steps of robosuite's Lift with a Panda, random actions, no reset among them.

With ``pictures`` two cameras of 64 x 64. Everything else is robosuite's default: the control rate, the
controller, the state beside the pictures.
"""

from __future__ import annotations

import protocol

answers, settings = protocol.quiet(), protocol.settings()

import mujoco
import numpy as np
import robosuite

cameras = ["agentview", "robot0_eye_in_hand"] if settings["pictures"] else []
env = robosuite.make(
    "Lift",
    robots="Panda",
    has_renderer=False,
    has_offscreen_renderer=settings["pictures"],
    use_camera_obs=settings["pictures"],
    camera_names=cameras or "agentview",
    camera_heights=64,
    camera_widths=64,
)
low, high = env.action_spec
actions = np.random.default_rng(0).uniform(low, high, (settings["steps"], len(low)))


def steps() -> None:
    for action in actions:
        observation, *_ = env.step(action)
    assert all(observation[f"{camera}_image"].shape == (64, 64, 3) for camera in cameras)


protocol.serve(
    answers,
    {
        "name": "robosuite Lift",
        "version": robosuite.__version__,
        "count": settings["steps"],
        "mujoco": mujoco.__version__,
        "control_hz": env.control_freq,
        "physics_steps": round(env.control_timestep / env.model_timestep),
        "cameras": len(cameras),
    },
    steps,
    prepare=env.reset,
)
