"""A joint trajectory controller without an arm: what it is told, its joints do."""

from __future__ import annotations

import threading
import time
import uuid

import numpy as np

from robowm.dispatch.arms.ros import RosArm, RosArmConfig, TopicsConfig
from robowm.dispatch.limits import LimitsConfig
from robowm.dispatch.trajectory import Trajectory
from robowm.dispatch.wire import LINKS
from robowm.dispatch.wire.messages import Image, JointState, JointTrajectory, Numbers
from robowm.dispatch.wire.protocol import QoS
from robowm.spec import ArraySpec

PERIOD_S = 0.005
GOAL = np.array([0.5, -0.5])


class Joints:
    names = ("slide_x", "slide_y", "gripper")
    low, high = np.array([-1.0, -1.0, 0.0]), np.array([1.0, 1.0, 0.08])
    velocity = np.array([0.5, 0.5, np.inf])


READS = {
    "image_front": ArraySpec((16, 16, 3), "uint8", (0.0,), (255.0,)),
    "proprio": ArraySpec((6,), "float32", (-1.0,) * 6, (1.0,) * 6),
    "goal": ArraySpec((1, 2), "float32", (-1.0,) * 2, (1.0,) * 2),
}


def senses(q, dq, effort):
    return {"proprio": np.concatenate([q, dq]).astype(np.float32)}


class Controller:
    """Follows trajectories from where it is, and publishes its joints, a picture and a goal.

    Attributes:
      clock_s: of its stamps, before the machine's own; nobody else has this clock.
      names: of the joints in its messages; one more than the arm's.
      silent: whether joint states stop.
      deaf: to how many trajectories more.
      told: trajectories, in the order in which they came.
    """

    def __init__(self, link, gripper="", velocities="measured"):
        self.link, self.velocities = link, velocities
        self.clock_s, self.silent, self.deaf = -1e6, False, 0
        self.names = ("wheel", *reversed(Joints.names))
        self.told: list[JointTrajectory] = []
        self.lock = threading.Lock()
        self.path = Trajectory.rest(0.0, np.array([0.1, -0.1, 0.08]))
        link.open()
        link.subscribe("~/command", JointTrajectory, self.follow, QoS.COMMAND)
        if gripper:
            link.subscribe(f"~/{gripper}", JointTrajectory, self.follow, QoS.COMMAND)
        self.states = link.publisher("~/joints", JointState, QoS.SENSOR)
        self.picture = link.publisher("~/picture", Image, QoS.SENSOR)
        link.publisher("~/goal", Numbers, QoS.LATCHED)(Numbers(GOAL))
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def follow(self, message):
        now = time.monotonic()
        columns = [Joints.names.index(name) for name in message.names]
        with self.lock:
            self.told.append(message)
            if self.deaf:
                self.deaf -= 1
                return
            q, dq, _ = self.path.at(now)
            ends = np.repeat(self.path.q[-1:], len(message.time_s), axis=0)
            speeds = np.zeros_like(ends)
            ends[:, columns], speeds[:, columns] = message.position, message.velocity
            self.path = Trajectory(
                np.append(now, now + message.time_s), np.vstack([q, ends]), np.vstack([dq, speeds])
            )

    def at(self):
        with self.lock:
            return self.path.at(time.monotonic())[:2]

    def run(self):
        due, count = time.monotonic(), 0
        while not self.over.wait(max(0.0, due - time.monotonic())):
            due += PERIOD_S
            q, dq = ([9.0, *reversed(part)] for part in self.at())
            stamp = time.time() + self.clock_s
            if not self.silent:
                # As measured; some drivers say nothing, and some that it is no number.
                said = {"measured": dq, "none": [], "nan": [np.nan] * len(dq)}
                speeds = np.array(said[self.velocities])
                self.states(JointState(stamp, self.names, np.array(q), speeds))
            if count % 6 == 0:
                self.picture(Image(stamp, np.full((24, 32, 3), 100, np.uint8)))
            count += 1

    def close(self):
        self.over.set()
        self.thread.join()
        self.link.close()


def limits():
    return LimitsConfig(workspace_low=(-1, -1, 0), workspace_high=(1, 1, 1))


def arm_and_controller(kind="local", theirs=None, gripper="", velocities="measured", **settings):
    """An arm over a link, and what drives it over a link of the same or another kind."""
    settings.setdefault("stale_s", 1.0)  # other programs may have the machine for a while
    name = f"driver_{uuid.uuid4().hex[:8]}"
    controller = Controller(LINKS[theirs or kind](name), gripper, velocities)
    topics = TopicsConfig(
        joint_states=f"/{name}/joints",
        trajectory=f"/{name}/command",
        gripper=gripper and f"/{name}/{gripper}",
        cameras={"front": f"/{name}/picture"},
        goal=f"/{name}/goal",
    )
    config = RosArmConfig(
        topics=topics, limits=limits(), node=f"arm_{uuid.uuid4().hex[:8]}", **settings
    )
    link = LINKS[kind](config.node)
    return RosArm(config, Joints(), READS, senses, link=link), controller
