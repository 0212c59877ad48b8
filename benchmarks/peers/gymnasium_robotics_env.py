"""Steps of Gymnasium-Robotics' FetchPickAndPlace, random actions, no reset among them.

With ``pictures`` its ``render`` draws one of 64 x 64 after each step: it has one camera.
"""

from __future__ import annotations

import protocol

answers, settings = protocol.quiet(), protocol.settings()

from importlib.metadata import version

import gymnasium
import gymnasium_robotics
import mujoco
import numpy as np

gymnasium.register_envs(gymnasium_robotics)
drawn = {"render_mode": "rgb_array", "width": 64, "height": 64} if settings["pictures"] else {}
env = gymnasium.make(settings["id"], **drawn)
space = env.action_space
actions = np.random.default_rng(0).uniform(space.low, space.high, (settings["steps"], *space.shape))


def steps() -> None:
    for action in actions:
        env.step(action)
        if drawn:
            assert env.render().shape == (64, 64, 3)


inside = env.unwrapped
protocol.serve(
    answers,
    {
        "name": "Gymnasium-Robotics " + settings["id"].partition("-")[0],
        "version": version("gymnasium-robotics"),
        "count": settings["steps"],
        "mujoco": mujoco.__version__,
        "control_hz": round(1 / inside.dt, 3),
        "physics_steps": inside.n_substeps,
        "cameras": int(settings["pictures"]),
    },
    steps,
    prepare=env.reset,
)
