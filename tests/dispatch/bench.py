"""An arm server and somebody who knows nothing of it but its messages."""

from __future__ import annotations

import collections
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

import robowm_envs
from robowm.dispatch.bench.server import ArmServer, ServerConfig
from robowm.dispatch.bench.trajectory_controller import ControllerConfig
from robowm.dispatch.wire.local import Bus, LocalLink
from robowm.dispatch.wire.messages import (
    CompressedImage,
    Image,
    JointState,
    JointTrajectory,
    Numbers,
    Text,
)
from robowm.dispatch.wire.protocol import Link, QoS
from robowm_envs.expert import Expert
from robowm_envs.joints import JointPort
from robowm_envs.live import LiveArm
from robowm_envs.photographer import Photographer

PATIENCE_S = 20.0  # of a test, on a machine that is busy


def until(true: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Whether it becomes true in time."""
    end_s = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.002)
    return True


class Client:
    """Hears everything and sends trajectories, episodes and faults.

    Attributes:
      heard: by topic, all messages.
    """

    def __init__(self, link: Link):
        self.link = link
        self.heard: dict[str, list] = collections.defaultdict(list)
        for topic, kind, qos in (
            ("joint_states", JointState, QoS.SENSOR),
            ("joint_trajectory_controller/state", Text, QoS.STATUS),
            ("robowm/goal", Numbers, QoS.LATCHED),
            ("robowm/constraints", Text, QoS.LATCHED),
            ("robowm/episode_state", Text, QoS.LATCHED),
            ("camera/front/image_raw", Image, QoS.SENSOR),
            ("camera/wrist/image_raw", Image, QoS.SENSOR),
            ("camera/wrist/image_raw/compressed", CompressedImage, QoS.SENSOR),
        ):
            link.subscribe(topic, kind, self.heard[topic].append, qos)
        self._trajectory = link.publisher(
            "joint_trajectory_controller/joint_trajectory", JointTrajectory, QoS.COMMAND
        )
        self._episode = link.publisher("robowm/episode", Text, QoS.STATUS)
        self._fault = link.publisher("robowm/fault", Text, QoS.STATUS)

    @property
    def state(self) -> JointState:
        return self.heard["joint_states"][-1]

    @property
    def status(self) -> dict:
        """Of the controller, the newest."""
        assert until(lambda: self.heard["joint_trajectory_controller/state"])
        return json.loads(self.heard["joint_trajectory_controller/state"][-1].data)

    @property
    def fresh_status(self) -> dict:
        """One that is told from now on."""
        told = len(self.heard["joint_trajectory_controller/state"])
        assert until(lambda: len(self.heard["joint_trajectory_controller/state"]) > told)
        return self.status

    def rejected(self, kind: str, before: dict) -> bool:
        """Whether a trajectory is rejected for this reason, after status ``before``."""
        count = before["rejected"].get(kind, 0) + 1
        return until(lambda: self.status["rejected"].get(kind, 0) == count)

    @property
    def episode(self) -> dict:
        return json.loads(self.heard["robowm/episode_state"][-1].data)

    def lay_out(self, seed: int, **options) -> dict:
        """Begin an episode, and wait for it."""
        assert until(lambda: self.heard["robowm/episode_state"])
        number = self.episode["number"]
        self._episode(Text(json.dumps({"seed": seed, **options})))
        assert until(lambda: self.episode["number"] > number)
        stamp_s = self.state.stamp_s
        assert until(lambda: self.state.stamp_s > stamp_s + 0.05)
        return self.episode

    def ask_for(self, text: str) -> None:
        self._episode(Text(text))

    def fail(self, **fault: float) -> None:
        self._fault(Text(json.dumps(fault)))

    def send(self, q, dq=None, step_s=0.1, names=None, stamp_s=0.0) -> JointTrajectory:
        q = np.asarray(q, float)
        dq = np.zeros_like(q) if dq is None else np.asarray(dq, float)
        times = step_s * np.arange(1, len(q) + 1)
        sent = JointTrajectory(stamp_s, names or self.state.names, times, q, dq)
        self._trajectory(sent)
        return sent

    def finish(self) -> dict:
        done, told = self.link.call("robowm/finish", PATIENCE_S)
        assert done, told
        return json.loads(told)["result"]


@contextmanager
def served(
    task: str = "grasp_rotate_place",
    controller: ControllerConfig | None = None,
    namespace: str = "",
    **settings,
) -> Iterator[tuple[Client, ArmServer]]:
    """A server in a thread and a client, on a bus of their own."""
    bus, stop = Bus(), threading.Event()
    config = ServerConfig(**{"rate_hz": 250.0, "image_hz": 0.0, "patience_s": 60.0, **settings})
    env = robowm_envs.make(task, observation="state", timestep_s=0.002)
    link, other = (LocalLink(name, namespace, bus) for name in ("arm", "client"))
    link.open()
    other.open()
    live, cameras = LiveArm(env), ("front", "wrist") if config.image_hz else ()
    server = ArmServer(config, link, live, controller, cameras)
    server.begin(seed=0)
    photographer = Photographer(live, cameras, 32, server.deliver)
    take = photographer.take if cameras else None
    thread = threading.Thread(target=server.run, args=(stop.is_set, take), daemon=True)
    thread.start()
    try:
        client = Client(other)
        assert until(lambda: client.heard["joint_states"])
        yield client, server
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        photographer.close()
        link.close()
        other.close()
        env.close()
    assert not thread.is_alive()


def expert_motion(task: str, seed: int, split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    """Joint targets [H, N] a step of 0.1 s apart, and velocities, that solve an episode."""
    env = robowm_envs.make(task, observation="state", split=split)
    expert, high = Expert(env), JointPort(env).high
    step, targets = env.reset(seed=seed), []
    while not step.last() and env._held < 8:
        step = env.step(expert.act())
        width = 0.0 if env.controller.closed else high[-1]
        targets.append(np.append(env.controller.joint_target, width))
    env.close()
    q = np.array(targets)
    dq = np.gradient(q, 0.1, axis=0)
    dq[-1], dq[:, -1] = 0.0, 0.0
    return q, dq
