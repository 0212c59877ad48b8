"""A real arm, or whatever speaks as one: joint states come in, joint trajectories go out.

One class over any :class:`~robowm.dispatch.wire.protocol.Link`; the registered arms differ in the link
alone. A joint trajectory controller is expected to listen: it follows what :class:`Chunk` describes.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

import numpy as np

from robowm.dispatch.arm import ArmObservation, ArmState, Array, Chunk, Receipt
from robowm.dispatch.arms.camera import Camera
from robowm.dispatch.arms.clock import StampClock
from robowm.dispatch.limits import LimitsConfig
from robowm.dispatch.trajectory import BRAKING, Trajectory
from robowm.dispatch.wire import LINKS
from robowm.dispatch.wire.messages import (
    CompressedImage,
    Image,
    JointState,
    JointTrajectory,
    Numbers,
)
from robowm.dispatch.wire.protocol import Link, QoS, full_name
from robowm.errors import UserError
from robowm.spec import GOAL, ArraySpec

logger = logging.getLogger(__name__)

AHEAD_S = 1.0  # a chunk that starts later than this is on another clock
SOONEST_S = 0.002  # a waypoint due before that is past when it arrives
POLL_S = 0.02

Senses = Callable[[Array, Array, Array | None], Mapping[str, np.ndarray]]


class Joints(Protocol):
    """Of the arm's model, such as ``robowm_envs.joints.JointPort``; N counts the gripper, the last."""

    names: tuple[str, ...]
    low: Array  # [N]
    high: Array  # [N]
    velocity: Array  # [N], infinite where the drive limits itself


@dataclasses.dataclass
class TopicsConfig:
    """Names without a leading slash stand in the namespace.

    Attributes:
      joint_states: sensor_msgs/JointState, all joints in one message, in any order.
      trajectory: trajectory_msgs/JointTrajectory of a joint trajectory controller.
      gripper: the same for the gripper alone, where another controller drives it; else empty.
      cameras: for each picture that an agent may read, without its ``image_``; sensor_msgs/Image, or
        CompressedImage where the name ends in ``/compressed``.
      goal: std_msgs/Float64MultiArray, latched.
    """

    joint_states: str = "joint_states"
    trajectory: str = "joint_trajectory_controller/joint_trajectory"
    gripper: str = ""
    cameras: dict[str, str] = dataclasses.field(
        default_factory=lambda: {
            "front": "camera/front/image_raw",
            "wrist": "camera/wrist/image_raw",
        }
    )
    goal: str = "robowm/goal"


@dataclasses.dataclass
class RosArmConfig:
    """Attributes:
    topics: see :class:`TopicsConfig`.
    joint_names: as the driver calls them, in the order of the model's; empty where they are the same.
    namespace: of all names that do not begin with a slash.
    node: our name.
    rate_hz: of observations, and of commands at most.
    connect_timeout_s: discovery takes a while on a busy network.
    stale_s: age of the joint states at which nothing is sent.
    picture_stale_s: age of a picture at which an observation counts as infinitely old.
    latency_s: from sending a trajectory to its start; waypoints are told by so much sooner.
    rest: speed, in rad/s or m/s, below which a joint counts as standing.
    """

    kind: str = "ros2"
    topics: TopicsConfig = dataclasses.field(default_factory=TopicsConfig)
    limits: LimitsConfig = dataclasses.field(default_factory=LimitsConfig)
    joint_names: list[str] = dataclasses.field(default_factory=list)
    namespace: str = ""
    node: str = "robowm"
    rate_hz: float = 10.0
    connect_timeout_s: float = 20.0
    stale_s: float = 0.25
    picture_stale_s: float = 0.5
    latency_s: float = 0.0
    rest: float = 0.01

    def __post_init__(self) -> None:
        for name in ("rate_hz", "connect_timeout_s", "stale_s", "picture_stale_s", "rest"):
            if not getattr(self, name) > 0:
                raise UserError(f"arm.{name} is {getattr(self, name)}, expected a number above 0.")
        if not 0 <= self.latency_s < AHEAD_S:
            raise UserError(f"arm.latency_s is {self.latency_s}, expected from 0 to {AHEAD_S:g} s.")


@dataclasses.dataclass(frozen=True)
class Measured:
    """Joint states in the model's order; ``effort`` where it is measured."""

    q: Array
    dq: Array
    effort: Array | None
    stamp_s: float
    received_s: float


class RosArm:
    """Args:
      joints: names, end stops and velocities of the arm's model.
      reads: what the agent reads, such as ``TaskSpec.observation``.
      senses: of joint position, velocity and effort (or None) the arrays that are neither pictures nor
        the goal, such as ``proprio``; robowm knows no kinematics.
      goal: where it is not to come by topic.
      link: of another kind than the class's own.

    Attributes:
      clock: the observation's, with a count of its jumps.
    """

    link_kind: ClassVar[str] = "ros2"

    def __init__(
        self,
        config: RosArmConfig,
        joints: Joints,
        reads: Mapping[str, ArraySpec],
        senses: Senses,
        goal: np.ndarray | None = None,
        link: Link | None = None,
    ):
        names = tuple(config.joint_names) or tuple(joints.names)
        if len(set(names)) != len(joints.names):
            raise UserError(
                f"arm.joint_names has {', '.join(names)}: expected {len(joints.names)} different names, "
                f"for {', '.join(joints.names)}."
            )
        self.spec = config.limits.spec(
            names, joints.low, joints.high, joints.velocity, config.rate_hz
        )
        self.clock = StampClock()
        self._config, self._reads, self._senses = config, reads, senses
        self._link = link or LINKS[self.link_kind](config.node, config.namespace)
        self._cameras = {
            name: Camera(*spec.shape[:2]) for name, spec in reads.items() if spec.is_image
        }
        self._goal: np.ndarray | None = None
        if goal is not None:
            self.goal = goal
        self._lock = threading.RLock()
        self._state, self._connected = ArmState.DISCONNECTED, False
        # Stamps count from the first: seconds since 1970 leave too few digits for a spline's short ends.
        self._zero_s: float | None = None
        self._measured: Measured | None = None
        self._lacking: tuple[str, ...] = ()
        self._path: Trajectory | None = None  # as commanded
        self._stopping: threading.Thread | None = None
        self._stops = 0
        self._released = threading.Event()  # from the emergency stop
        self._released.set()
        self._command: Callable[[JointTrajectory], None] | None = None
        self._grip: Callable[[JointTrajectory], None] | None = None

    @property
    def state(self) -> ArmState:
        return self._state

    @property
    def goal(self) -> np.ndarray | None:
        """As the agent reads it, wherever it came from."""
        return self._goal

    @goal.setter
    def goal(self, goal: np.ndarray) -> None:
        spec, goal = self._reads.get(GOAL), np.asarray(goal, np.float32)
        if spec is not None and goal.size != spec.size:
            raise UserError(f"a goal has {goal.size} numbers, expected {spec.size}: {spec.shape}.")
        self._goal = goal.reshape(spec.shape) if spec is not None else goal

    def connect(self) -> None:
        """Join, and wait for joint states, pictures, a goal, and someone who follows trajectories.

        Raises UserError that says what did not come.
        """
        if self._connected:
            return
        topics = self._config.topics
        self.clock, self._measured, self._lacking, self._path = StampClock(), None, (), None
        self._zero_s = None
        self._link.open()
        try:
            self._command = self._link.publisher(topics.trajectory, JointTrajectory, QoS.COMMAND)
            if topics.gripper:
                self._grip = self._link.publisher(topics.gripper, JointTrajectory, QoS.COMMAND)
            self._link.subscribe(topics.joint_states, JointState, self._hear, QoS.SENSOR)
            for name, camera in self._cameras.items():
                topic = self._camera_topic(name)
                kind: Any = CompressedImage if topic.endswith("/compressed") else Image
                self._link.subscribe(topic, kind, camera.hear, QoS.SENSOR)
            if topics.goal and GOAL in self._reads:
                self._link.subscribe(topics.goal, Numbers, self._hear_goal, QoS.LATCHED)
            deadline = time.monotonic() + self._config.connect_timeout_s
            while missing := self._missing():
                if time.monotonic() > deadline:
                    raise UserError(
                        f"the arm is not there after {self._config.connect_timeout_s:g} s: "
                        f"{'; '.join(missing)}. Are the driver and we in the same domain, with the "
                        "topics that arm.topics names?"
                    )
                time.sleep(POLL_S)
            with self._lock:
                self._connected = True
                self._path = Trajectory.rest(self._now_s(), self._seen().q)
                if self._state is ArmState.DISCONNECTED:
                    self._state = ArmState.READY
            self._check(self.observe())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave the arm: what was sent it follows to its end, which is at rest."""
        self._released.set()
        if self._stopping is not None:
            self._stopping.join()
        with self._lock:
            self._stopping, self._connected = None, False
            if self._state is not ArmState.STOPPED:
                self._state = ArmState.DISCONNECTED
        self._link.close()

    def observe(self) -> ArmObservation:
        seen = self._seen()
        arrays: dict[str, Any] = dict(self._senses(seen.q, seen.dq, seen.effort))
        now_s = time.monotonic()
        age_s = self.clock.age(seen.stamp_s, now_s)
        for name, camera in self._cameras.items():
            if (newest := camera.newest()) is not None:
                arrays[name] = newest[0]
                if now_s - newest[1] > self._config.picture_stale_s:
                    age_s = math.inf  # of what the agent would see, the joint states are the least
        if GOAL in self._reads and self._goal is not None:
            arrays[GOAL] = self._goal
        return ArmObservation(
            seen.q, seen.dq, arrays, seen.stamp_s, seen.received_s, age_s, effort=seen.effort
        )

    def send(self, chunk: Chunk) -> Receipt:
        with self._lock:
            if self._state not in (ArmState.READY, ArmState.HOLDING):
                return Receipt(False, f"the arm is {self._state}")
            if why := self._unfit(chunk):
                return Receipt(False, why)
            now_s = self._now_s()
            due_s: Array = chunk.t0_s + chunk.dt_s * np.arange(1.0, len(chunk.q) + 1)
            told_s = due_s - (now_s + self._config.latency_s)
            left = told_s > SOONEST_S
            if not left.any():
                return Receipt(False, f"the chunk ended {now_s - chunk.end_s:.3f} s ago")
            self._publish(told_s[left], chunk.q[left], chunk.dq[left])
            assert self._path is not None  # ready only when connected
            self._path = self._path.then(chunk, now_s)
            self._state = ArmState.READY
            return Receipt(True, sent=int(left.sum()))

    def wait(self, stamp_s: float) -> None:
        while self._connected and self._state is not ArmState.STOPPED:
            left_s = stamp_s - self._now_s()
            if left_s <= 0:
                return
            time.sleep(min(left_s, POLL_S))  # the clock may be set meanwhile

    def hold(self) -> None:
        """Brake from where the arm is measured to be, with half of the acceleration it may have."""
        with self._lock:
            if self._state in (ArmState.READY, ArmState.HOLDING):
                self._state = ArmState.HOLDING
                self._brake(BRAKING)

    def estop(self) -> None:
        """Brake with all the acceleration that the arm may have, again and again until it stands."""
        with self._lock:
            self._state = ArmState.STOPPED
            self._stops += 1
            if not self._connected or not self._released.is_set():  # it is stopping already
                return
            self._brake(1.0)
            self._released = threading.Event()
            self._stopping = threading.Thread(
                target=self._until_at_rest,
                args=(self._released,),
                daemon=True,
                name="emergency stop",
            )
            self._stopping.start()

    def reset(self) -> None:
        stops = self._stops
        self._released.set()
        if self._stopping is not None:
            self._stopping.join()
        with self._lock:
            if (
                self._state is ArmState.STOPPED and self._stops == stops
            ):  # not stopped anew meanwhile
                self._state = ArmState.HOLDING if self._connected else ArmState.DISCONNECTED

    # What comes in.

    def _hear(self, message: JointState) -> None:
        received_s, names = time.monotonic(), self.spec.joints
        lacking = tuple(name for name in names if name not in message.names)
        if lacking:
            self._lacking = lacking
            return
        order = _order(names, message.names)
        q = message.position[order]
        with self._lock:
            if self._zero_s is None:
                self._zero_s = message.stamp_s
            stamp_s = message.stamp_s - self._zero_s
            jumps, then_s = self.clock.jumps, self.clock.now(received_s)
            if not self.clock.hear(stamp_s, received_s):
                return
            if self.clock.jumps > jumps:
                set_s = self.clock.now(received_s) - then_s
                logger.warning("the arm's clock was set by %.3f s", set_s)
                if self._path is not None:  # what was commanded goes on
                    self._path = dataclasses.replace(self._path, time_s=self._path.time_s + set_s)
            dq, before = np.zeros(len(names)), self._measured
            if before is not None and stamp_s > before.stamp_s:
                dq = (q - before.q) / (stamp_s - before.stamp_s)
            if len(message.velocity) == len(message.names):
                # Drivers say NaN of a joint whose speed they do not measure.
                dq = np.where(np.isnan(message.velocity[order]), dq, message.velocity[order])
            whole = len(message.effort) == len(message.names)
            effort = message.effort[order] if whole else None
            self._measured = Measured(q, dq, effort, stamp_s, received_s)

    def _hear_goal(self, message: Numbers) -> None:
        self.goal = message.data

    def _seen(self) -> Measured:
        if self._measured is None:
            raise UserError("the arm has not been connected: call connect() before observe().")
        return self._measured

    def _now_s(self) -> float:
        return self.clock.now(time.monotonic())

    def _missing(self) -> list[str]:
        """What has not come yet, in words."""
        topics, missing = self._config.topics, []
        if self._measured is None:
            lacking = f"none with {', '.join(self._lacking)}" if self._lacking else "none"
            missing.append(f"joint states on {self._full(topics.joint_states)}: {lacking}")
        elif not self.clock.steady:
            missing.append(f"joint states on {self._full(topics.joint_states)}: too few")
        for topic in filter(None, (topics.trajectory, topics.gripper)):
            if not self._link.listeners(topic):
                missing.append(f"nobody listens on {self._full(topic)}")
        for name, camera in self._cameras.items():
            if camera.newest() is None:
                missing.append(f"no picture on {self._full(self._camera_topic(name))}")
        if GOAL in self._reads and self._goal is None:
            missing.append(
                f"no goal on {self._full(topics.goal)}" if topics.goal else "no goal was given"
            )
        return missing

    def _check(self, observation: ArmObservation) -> None:
        for name, spec in self._reads.items():
            shape = np.shape(observation.arrays.get(name, ()))
            if name not in observation.arrays or shape != spec.shape:
                raise UserError(
                    f"the agent reads {name} of shape {spec.shape}, and the arm shows "
                    f"{shape if name in observation.arrays else 'none'}: it was made for another task."
                )

    def _camera_topic(self, name: str) -> str:
        camera = name.removeprefix("image_")
        if camera not in self._config.topics.cameras:
            raise UserError(
                f"the agent reads {name}: set arm.topics.cameras.{camera} to the topic that shows it."
            )
        return self._config.topics.cameras[camera]

    # What goes out; the lock is held.

    def _unfit(self, chunk: Chunk) -> str:
        """Why a chunk is not to be sent; empty where it is."""
        n = len(self.spec.joints)
        if chunk.joints != self.spec.joints or chunk.q.shape != (len(chunk.q), n):
            return f"the chunk is for {', '.join(chunk.joints)}"
        if not (np.isfinite(chunk.q).all() and np.isfinite(chunk.dq).all()):
            return "the chunk is not finite"
        if not self.clock.steady:
            return "the arm's clock was set, and has not been steady since"
        age_s = self.clock.age(self._seen().stamp_s, time.monotonic())
        if age_s > self._config.stale_s:
            return f"no joint states for {age_s:.3f} s"
        ahead_s = chunk.t0_s - self._now_s()
        return f"the chunk starts in {ahead_s:.3f} s" if ahead_s > AHEAD_S else ""

    def _brake(self, share: float) -> None:
        """To rest, every joint in the time that the fastest takes with a share of its acceleration."""
        assert self._path is not None
        seen, now_s, change = self._seen(), self._now_s(), np.array(self.spec.acceleration)
        age_s = self.clock.age(seen.stamp_s, time.monotonic())
        q, dq, _ = self._path.at(now_s)  # as commanded, where nothing better is known
        if age_s <= self._config.stale_s and np.isfinite([seen.q, seen.dq]).all():
            # A drive that limits itself keeps its target: what the gripper holds, it goes on holding.
            free = np.isinf(change)
            q = np.where(free, self._path.q[-1], seen.q + seen.dq * age_s)
            dq = np.where(free, 0.0, seen.dq)
        brake_s = max(1 / self.spec.servo_hz, float(np.max(np.abs(dq) / (share * change))))
        still = np.zeros_like(q)
        self._path = Trajectory(
            np.array([now_s, now_s + brake_s]),
            np.stack([q, q + dq * brake_s / 2]),
            np.stack([dq, still]),
        )
        self._publish(np.array([brake_s]), self._path.q[1:], self._path.dq[1:])

    def _publish(self, time_s: Array, q: Array, dq: Array) -> None:
        """Times count from now: header.stamp stays 0, since clocks need not agree."""
        assert self._command is not None
        names = self.spec.joints
        if self._grip is None:
            self._command(JointTrajectory(0.0, names, time_s, q, dq))
        else:
            self._command(JointTrajectory(0.0, names[:-1], time_s, q[:, :-1], dq[:, :-1]))
            self._grip(JointTrajectory(0.0, names[-1:], time_s, q[:, -1:], dq[:, -1:]))

    def _until_at_rest(self, released: threading.Event) -> None:
        """Repeat the stop: one message may be lost, or meet a controller that is busy."""
        standing, last_s = 0, -math.inf
        while not released.wait(1 / self.spec.rate_hz / 2):
            with self._lock:
                seen = self._seen()
                if seen.stamp_s != last_s:  # told anew
                    still = np.abs(seen.dq)[np.isfinite(self.spec.acceleration)]
                    standing = standing + 1 if (still < self._config.rest).all() else 0
                    last_s = seen.stamp_s
                if standing >= 2 or released.is_set():
                    return
                self._brake(1.0)

    def _full(self, topic: str) -> str:
        return full_name(topic, self._config.node, self._config.namespace)


@functools.lru_cache(maxsize=16)
def _order(wanted: tuple[str, ...], given: tuple[str, ...]) -> np.ndarray:
    return np.array([given.index(name) for name in wanted])


@dataclasses.dataclass
class Ros2ArmConfig(RosArmConfig):
    kind: str = "ros2"


class Ros2Arm(RosArm):
    """By rclpy."""

    link_kind = "ros2"


@dataclasses.dataclass
class DdsArmConfig(RosArmConfig):
    kind: str = "dds"


class DdsArm(RosArm):
    """A ROS 2 arm, from a machine without ROS."""

    link_kind = "dds"


@dataclasses.dataclass
class Ros1ArmConfig(RosArmConfig):
    kind: str = "ros1"


class Ros1Arm(RosArm):
    """By rospy."""

    link_kind = "ros1"
