"""The arm's side of a link: a joint trajectory controller, joint states and pictures, in real time.

What is driven stands behind a protocol; :class:`robowm_envs.live.LiveArm` is one. Beside the topics that
any driver has, ``/robowm/...`` has those of the bench: which episode is laid out, its goal, its result.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import gc
import json
import logging
import math
import queue
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from robowm.dispatch.arm import Array
from robowm.dispatch.bench.faults import Faults
from robowm.dispatch.bench.pacing import Every, Pacer, realtime
from robowm.dispatch.bench.trajectory_controller import ControllerConfig, TrajectoryController
from robowm.dispatch.wire.messages import (
    CompressedImage,
    Image,
    JointState,
    JointTrajectory,
    Message,
    Numbers,
    Text,
)
from robowm.dispatch.wire.protocol import Answer, Link, QoS
from robowm.errors import UserError

logger = logging.getLogger(__name__)

STATUS_HZ, WARNINGS_HZ = 2.0, 0.2
JPEG_QUALITY = 90
ANSWER_S = 2.0  # by which a service is answered
# After how long a thread must let others have Python's lock, a tenth of a turn at 500 Hz; Python's own
# 5 ms would cost the loop two turns whenever a message or a picture is worked on.
SWITCH_S = 2e-4


class LiveArm(Protocol):
    """A world that goes on as it is stepped; N joints, the gripper the last."""

    names: tuple[str, ...]
    low: Array  # [N]
    high: Array  # [N]
    velocity: Array  # [N]
    period_s: float
    goal: NDArray[np.floating]  # [G]
    begun: bool
    over: bool

    @property
    def task(self) -> str: ...

    @property
    def time_limit_s(self) -> float: ...

    def begin(self, seed: int, split: str, push: str) -> None:
        """Lay an episode out; ValueError, with the scene as it was, for one that there is not."""
        ...

    def start_clock(self) -> None: ...

    def step(self, q: Array, dq: Array) -> None:
        """``period_s`` towards positions and velocities [N]."""
        ...

    def finish(self) -> Mapping[str, float]:
        """Judge the episode, once; its metrics."""
        ...

    def measure(self) -> tuple[Array, Array, Array]:
        """Position, velocity, effort [N]."""
        ...

    def constraints(self) -> Mapping[str, Array]: ...


@dataclasses.dataclass
class ServerConfig:
    """Attributes:
    rate_hz: of joint states.
    image_hz: of the pictures of each camera; 0 is none.
    compressed: pictures as JPEG too.
    realtime_priority: of the loop, as of ros2_control's, where the system grants it; 0 is none.
    patience_s: by which the simulation may be late and make up for it; later, time is lost.
    """

    rate_hz: float = 125.0
    image_hz: float = 15.0
    compressed: bool = False
    realtime_priority: int = 50
    patience_s: float = 0.1

    def __post_init__(self) -> None:
        if not (1 <= self.rate_hz <= 1000 and 0 <= self.image_hz <= 120 and self.patience_s > 0):
            raise UserError(
                f"server.rate_hz is {self.rate_hz}, image_hz {self.image_hz} and patience_s "
                f"{self.patience_s}: give 1 to 1000 Hz, 0 to 120 Hz and a time above 0."
            )
        if not 0 <= self.realtime_priority <= 99:
            raise UserError(
                f"server.realtime_priority is {self.realtime_priority}: give 1 to 99, or 0 for none."
            )


class ArmServer:
    """Serves ``arm`` over an open ``link``, from :meth:`run`'s thread; callbacks only leave messages.

    Of the robot, in the link's namespace::

      joint_states                                  published, ``rate_hz``
      joint_trajectory_controller/joint_trajectory  heard
      joint_trajectory_controller/state             JSON at 2 Hz and on each rejection: counts, reasons
      camera/<name>/image_raw [/compressed]         published, ``image_hz``

    Of the bench, texts in JSON::

      robowm/episode        heard: seed, and split and push where they are not "test" and "none"
      robowm/goal           latched numbers: the observation ``goal``
      robowm/constraints    latched: what the episode forbids
      robowm/episode_state  latched: "running", or "over" with the result; ``number`` counts episodes
      robowm/fault          heard: see :class:`Faults`
      robowm/finish         service: ends the episode, answers as episode_state does

    An episode's clock begins with the first trajectory that is accepted. When it is over the arm goes on
    to obey, as a real one would.

    Attributes:
      pacer: of the loop, while and after it runs.
    """

    def __init__(
        self,
        config: ServerConfig,
        link: Link,
        arm: LiveArm,
        controller: ControllerConfig | None = None,
        cameras: tuple[str, ...] = (),
    ):
        self._config, self._link, self._arm = config, link, arm
        self._controller = TrajectoryController(
            controller or ControllerConfig(), arm.names, arm.low, arm.high, arm.velocity
        )
        self.pacer = Pacer(arm.period_s, config.patience_s)
        self._faults = Faults()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._now_s = self.pacer.due_s
        self._epoch_s = time.time() - time.monotonic()
        self._drive = (np.zeros(0), np.zeros(0))
        self._episode: dict[str, Any] = {}
        self._realtime = False
        self._number, self._told_over, self._told_lost_s = 0, False, 0.0
        self._states_due, self._pictures_due = Every(config.rate_hz), Every(config.image_hz)
        self._status_due, self._warning_due = Every(STATUS_HZ), Every(WARNINGS_HZ)

        # Names are relative: the namespace is the link's.
        controls = "joint_trajectory_controller"
        self._publish_state = link.publisher("joint_states", JointState, QoS.SENSOR)
        self._publish_status = link.publisher(f"{controls}/state", Text, QoS.STATUS)
        self._publish_goal = link.publisher("robowm/goal", Numbers, QoS.LATCHED)
        self._publish_constraints = link.publisher("robowm/constraints", Text, QoS.LATCHED)
        self._publish_episode = link.publisher("robowm/episode_state", Text, QoS.LATCHED)
        self._publish_picture: dict[str, Callable[[Image], None]] = {}
        self._publish_jpeg: dict[str, Callable[[CompressedImage], None]] = {}
        for camera in cameras:
            topic = f"camera/{camera}/image_raw"
            self._publish_picture[camera] = link.publisher(topic, Image, QoS.SENSOR)
            if config.compressed:
                self._publish_jpeg[camera] = link.publisher(
                    f"{topic}/compressed", CompressedImage, QoS.SENSOR
                )
        self._subscribe(f"{controls}/joint_trajectory", JointTrajectory, self._follow, QoS.COMMAND)
        self._subscribe("robowm/episode", Text, self._begin, QoS.STATUS)
        self._subscribe("robowm/fault", Text, self._fail, QoS.STATUS)
        link.serve("robowm/finish", self._answer_finish)

    def begin(self, seed: int, split: str = "test", push: str = "none") -> None:
        """Lay an episode out, before :meth:`run` or on its thread."""
        self._arm.begin(seed, split, push)
        self._episode = {"seed": seed, "split": split, "push": push}
        self._number, self._told_over = self._number + 1, False
        q, _, _ = self._arm.measure()
        self._controller.start(self._now_s, q)
        self._drive = (q, np.zeros_like(q))
        self._publish_goal(Numbers(np.asarray(self._arm.goal, np.float64)))
        constraints = {k: np.asarray(v).tolist() for k, v in self._arm.constraints().items()}
        self._publish_constraints(Text(json.dumps(constraints)))
        self._publish_episode(Text(json.dumps(self._report())))

    def run(self, stopped: Callable[[], bool], take: Callable[[float], None] | None = None) -> None:
        """Serve in real time until ``stopped``, once an episode is laid out.

        Args:
          take: called with a stamp (s) between two turns when a picture is due; see :meth:`deliver`.
        """
        gc.collect()
        gc.freeze()  # what has been imported is not looked through again and again
        switch_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        period_s = self._arm.period_s
        self.pacer.start()
        try:
            with realtime(self._config.realtime_priority) as self._realtime:
                while not stopped():
                    for ahead in reversed(range(self.pacer.wait())):
                        self._now_s = self.pacer.due_s - (ahead + 1) * period_s
                        if ahead == 0:  # what came while turns were missed came now
                            self._read_inbox()
                        self._turn()
                    if take is not None and self._pictures_due.due(self._now_s):
                        take(self._stamp_s)
        finally:
            sys.setswitchinterval(switch_s)
            gc.unfreeze()

    def deliver(self, camera: str, stamp_s: float, pixels: np.ndarray) -> None:
        """Publish a picture uint8 [H, W, 3]; from any thread."""
        if self._faults.has("dead_s", self._now_s):
            return
        self._publish_picture[camera](Image(stamp_s, pixels, camera))
        if camera in self._publish_jpeg:
            quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            data = cv2.imencode(".jpg", pixels[..., ::-1], quality)[1].tobytes()
            self._publish_jpeg[camera](CompressedImage(stamp_s, data))

    # A turn

    def _turn(self) -> None:
        now_s, arm = self._now_s, self._arm
        arm.step(*self._drive)
        q, dq, effort = arm.measure()
        self._drive = self._controller.update(now_s, now_s + arm.period_s, q, dq)
        if arm.over and not self._told_over:
            self._told_over = True
            self._publish_episode(Text(json.dumps(self._report())))
        if self._faults.has("dead_s", now_s):
            return
        if self._states_due.due(now_s):
            state = JointState(self._stamp_s, arm.names, q, dq, effort)
            self._publish_state(self._faults.spoil(state, now_s))
        if self._status_due.due(now_s):
            self._publish_status(Text(json.dumps(self._status())))

    @property
    def _stamp_s(self) -> float:
        """Of this turn, on the driver's own clock."""
        return self._now_s + self._epoch_s + self._faults.clock_jump_s

    def _status(self) -> dict[str, Any]:
        controller, pacer = self._controller, self.pacer
        if pacer.lost_s > self._told_lost_s and self._warning_due.due(self._now_s):
            logger.warning(
                "the machine does not keep up with real time: %.2f s were lost",
                pacer.lost_s - self._told_lost_s,
            )
            self._told_lost_s = pacer.lost_s
        return {
            "state": controller.state.value,
            "accepted": controller.accepted,
            "rejected": dict(controller.rejected),
            "last_rejection": controller.last_rejection,
            "aborts": controller.aborts,
            "last_abort": controller.last_abort,
            "realtime": self._realtime,
            "turns": pacer.turns,
            "overruns": pacer.overruns,
            "worst_s": pacer.worst_s,
            "lost_s": pacer.lost_s,
        }

    def _report(self) -> dict[str, Any]:
        """Of the episode, as plain data."""
        result = None
        if self._arm.over:
            metrics = self._arm.finish()
            result = {k: float(v) if math.isfinite(v) else None for k, v in metrics.items()}
        return {
            "task": self._arm.task,
            **self._episode,
            "number": self._number,
            "time_limit_s": self._arm.time_limit_s,
            "state": "over" if self._arm.over else "running",
            "result": result,
        }

    # Messages

    def _read_inbox(self) -> None:
        while not self._inbox.empty():
            self._inbox.get()()

    def _follow(self, sent: JointTrajectory) -> None:
        if self._faults.has("dead_s", self._now_s):
            return
        start_s = None
        if sent.stamp_s != 0.0:
            start_s = self._now_s + sent.stamp_s - self._stamp_s
        reason = self._controller.accept(sent, self._now_s, start_s)
        if reason:
            logger.warning("a trajectory was rejected: %s", reason)
            self._publish_status(Text(json.dumps(self._status())))
        elif not self._arm.begun:
            self._arm.start_clock()

    def _begin(self, sent: Text) -> None:
        try:
            asked = json.loads(sent.data)
            known = {"seed", "split", "push"}
            if not isinstance(asked, dict) or "seed" not in asked or not asked.keys() <= known:
                raise ValueError(f"expected a JSON object with keys among {sorted(known)}")
            if type(asked["seed"]) is not int:
                raise ValueError("the seed is no whole number")
            self.begin(**asked)
        except ValueError as error:
            logger.warning("there is no episode %s: %s", sent.data, error)

    def _fail(self, sent: Text) -> None:
        was_dead = self._faults.has("dead_s", self._now_s)
        try:
            self._faults.switch(json.loads(sent.data), self._now_s)
        except ValueError as error:
            logger.warning("there is no fault %s: %s", sent.data, error)
        if self._faults.has("dead_s", self._now_s) and not was_dead:
            self._controller.stop(self._now_s)  # drives brake when nobody tells them anything

    def _answer_finish(self) -> Answer:
        told: concurrent.futures.Future[str] = concurrent.futures.Future()

        def finish() -> None:
            self._arm.finish()
            told.set_result(json.dumps(self._report()))

        self._inbox.put(finish)
        try:
            return True, told.result(ANSWER_S)
        except TimeoutError:
            return False, "the arm's loop does not answer"

    # The link

    def _subscribe(
        self, topic: str, kind: type[Any], heard: Callable[[Any], None], qos: QoS
    ) -> None:
        def keep(message: Message) -> None:
            self._inbox.put(functools.partial(heard, message))

        self._link.subscribe(topic, kind, keep, qos)
