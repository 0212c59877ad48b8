"""A simulated arm in a process of its own, in real time, that obeys messages alone: a real arm's stand-in.

Its topics are those of a joint trajectory controller and of cameras; those below /robowm lay out episodes
and tell what came of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from dataclasses import field

from robowm import cli
from robowm.config import TaskConfig
from robowm.dispatch.bench.pacing import realtime
from robowm.dispatch.bench.server import ArmServer, ServerConfig
from robowm.dispatch.bench.trajectory_controller import ControllerConfig
from robowm.dispatch.wire import LINKS
from robowm.learning.interrupt import StopOnSignal

# It obeys whoever talks to it, so it is heard on this machine alone unless these are set.
LOOPBACK = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_IP": "127.0.0.1"}


@dataclasses.dataclass
class ServeArm:
    """The whole configuration.

    Attributes:
      link: a key of LINKS; ``local`` reaches this process alone.
      name: of the node.
      namespace: before every topic and service, such as /left.
      seed: of the episode that is laid out first.
      split: its split.
      push: what is knocked against in it: none, object or arm.
      timestep_s: of the physics and of the controller.
      duration_s: after which it ends by itself.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    link: str = "dds"
    name: str = "arm_server"
    namespace: str = ""
    server: ServerConfig = field(default_factory=ServerConfig)
    controller: ControllerConfig = field(default_factory=ControllerConfig)
    seed: int = 0
    split: str = "test"
    push: str = "none"
    timestep_s: float = 0.002
    duration_s: float | None = None


def main(config: ServeArm) -> None:
    import robowm_envs
    from robowm_envs.live import LiveArm
    from robowm_envs.photographer import Photographer

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    for key, value in LOOPBACK.items():
        os.environ.setdefault(key, value)
    link = LINKS[config.link](config.name, config.namespace)
    options = {**config.task.arguments(), "observation": "state"}  # pictures are drawn beside it
    cameras = tuple(config.task.cameras) if config.server.image_hz else ()
    arm = LiveArm(robowm_envs.make(**options, timestep_s=config.timestep_s))
    ends_s = float("inf") if config.duration_s is None else time.monotonic() + config.duration_s
    with contextlib.ExitStack() as stack:
        # Threads that share Python's lock with the loop must not be kept waiting while they hold it.
        stack.enter_context(realtime(min(config.server.realtime_priority, 1)))
        stack.callback(link.close)
        link.open()
        server = ArmServer(config.server, link, arm, config.controller, cameras)
        server.begin(config.seed, config.split, config.push)
        photographer = Photographer(arm, cameras, config.task.image_size, server.deliver)
        stack.callback(photographer.close)
        stop = stack.enter_context(StopOnSignal())
        server.run(
            lambda: stop.signal is not None or time.monotonic() > ends_s,
            photographer.take if cameras else None,
        )


if __name__ == "__main__":
    cli.run(main, "arm_server")
