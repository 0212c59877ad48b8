"""What a trial needs: an arm server in another process, a bridge here, and a witness on the wire."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from robowm.dispatch.arm import Array
from robowm.dispatch.arms.ros import RosArm, RosArmConfig
from robowm.dispatch.bench.client import Bench
from robowm.dispatch.bench.trials import scripted
from robowm.dispatch.bridge.node import Bridge, BridgeConfig
from robowm.dispatch.limits import LimitsConfig
from robowm.dispatch.online.dispatch_config import DispatchConfig
from robowm.dispatch.online.planner import PlannerProcess
from robowm.dispatch.record.records import Event, Kind, Record
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.dispatch.wire.faulty import FaultyLink, WireFaultsConfig
from robowm.dispatch.wire.lent import LentLink
from robowm.dispatch.wire.messages import JointState, JointTrajectory, Text
from robowm.dispatch.wire.protocol import Link, QoS
from robowm.spec import TaskSpec

REST = 0.02  # rad/s, measured, below which an arm stands
FALL_RAD = 0.05  # in a step, of the shoulder
ROUNDING = 2e-3  # rad or m, of a limit
TRAJECTORY = "joint_trajectory_controller/joint_trajectory"


class Broken(Exception):
    """A promise was not kept; the words say which."""


def until(happened: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """What ``happened`` returns, once it is something."""
    end_s = time.monotonic() + timeout_s
    while not (value := happened()):
        if time.monotonic() > end_s:
            raise Broken(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(0.002)
    return value


def require(kept: bool, what: str) -> None:
    if not kept:
        raise Broken(what)


@dataclasses.dataclass(frozen=True)
class Seen:
    """Joints [N] in the model's order, at a monotonic time."""

    time_s: float
    q: Array
    dq: Array


class Witness:
    """Hears what goes over the wire on a link of its own, and believes nobody.

    Attributes:
      seen: joint states that are numbers.
      told: trajectories, with when they came.
    """

    def __init__(self, link: Link, joints: tuple[str, ...]):
        self._joints = joints
        self.seen: list[Seen] = []
        self.told: list[tuple[float, JointTrajectory]] = []
        link.subscribe("joint_states", JointState, self._see, QoS.SENSOR)
        link.subscribe(TRAJECTORY, JointTrajectory, self._tell, QoS.STATUS)

    def clear(self) -> None:
        self.seen, self.told = [], []

    @property
    def speed(self) -> float:
        """Of the fastest joint but the gripper, rad/s; infinite before anything was seen."""
        return float(np.abs(self.seen[-1].dq[:-1]).max()) if self.seen else float("inf")

    def rest_after(self, begin_s: float, timeout_s: float = 5.0) -> float:
        """How long after that monotonic time the arm came to rest, and stayed."""
        until(
            lambda: self.seen and self.seen[-1].time_s > begin_s + timeout_s, 20.0, "a joint state"
        )
        moving = [
            s.time_s for s in self.seen if s.time_s > begin_s and np.abs(s.dq[:-1]).max() > REST
        ]
        last_s = max(moving, default=begin_s)
        require(last_s < begin_s + timeout_s - 0.1, f"the arm still moves after {timeout_s:g} s")
        return last_s - begin_s

    def moved_after(self, begin_s: float) -> float:
        """How far (rad) any joint has come since that monotonic time."""
        later = np.stack([s.q[:-1] for s in self.seen if s.time_s > begin_s])
        return float(np.ptp(later, axis=0).max())

    def _see(self, message: JointState) -> None:
        if not np.isfinite(message.position).all():
            return  # a fault that is on purpose
        order = [message.names.index(name) for name in self._joints]
        now_s = time.monotonic()
        self.seen.append(Seen(now_s, message.position[order], message.velocity[order]))

    def _tell(self, message: JointTrajectory) -> None:
        self.told.append((time.monotonic(), message))


class Falling:
    """A commander that is broken: it leans the arm forward, whatever is asked, and keeps to no limit.

    Args:
      width_m: of the gripper.
    """

    def __init__(self, width_m: float):
        self._width_m = width_m

    def reset(self, q: Array) -> None:
        pass

    def target(self, action: np.ndarray, q: Array) -> Array:
        target = q.copy()
        target[1] += FALL_RAD
        target[-1] = self._width_m
        return target

    def state(self) -> None:
        return None

    def restore(self, state: Any) -> None:
        pass


class Rig:
    """Args:
    make_link: a link to where the arm server is, by the name of the node.
    make_twin: the arm's shape, as for a :class:`SafetyGate`, a commander and proprioception.
    joints: of the arm's model, as of a RosArm.
    spec: of the task.
    limits: of the arm.
    other_bridge: starts an active bridge in another process, which makes the arm move.
    """

    def __init__(
        self,
        make_link: Callable[[str], Link],
        make_twin: Callable[[], Any],
        joints: Any,
        spec: TaskSpec,
        limits: LimitsConfig,
        other_bridge: Callable[[], subprocess.Popen[bytes]],
    ):
        self.make_link, self._make_twin = make_link, make_twin
        self._joints, self._spec, self.limits = joints, spec, limits
        self._twin, self.other_bridge = make_twin(), other_bridge
        self._link = make_link("witness")
        self._link.open()
        self.witness = Witness(self._link, tuple(joints.names))
        self.bench = Bench(self._link)
        self._fault = self._link.publisher("robowm/fault", Text, QoS.STATUS)
        self._approve = self._link.publisher("robowm_bridge/approve_id", Text, QoS.STATUS)
        self.events: list[Event] = []

    def close(self) -> None:
        self._link.close()

    def lay_out(self, seed: int) -> None:
        """A new scene, and the arm at rest in it."""
        self.bench.begin(seed, "test")
        self.witness.clear()
        until(lambda: self.witness.speed < REST, 20.0, "an arm at rest")
        self.witness.clear()
        self.events = []

    def fault(self, **kinds: float) -> float:
        """Switch faults of the driver on; when that was, monotonic."""
        self._fault(Text(json.dumps(kinds)))
        return time.monotonic()

    def call(self, service: str, timeout_s: float = 20.0) -> tuple[bool, str]:
        """One of the bridge's, over the wire."""
        return self._link.call(f"robowm_bridge/{service}", timeout_s)

    def approve(self, plan_id: str) -> None:
        """Over the wire."""
        self._approve(Text(plan_id))

    @contextlib.contextmanager
    def bridge(
        self,
        errand: str = "sweep",
        mode: str = "auto",
        faults: WireFaultsConfig | None = None,
        limits: LimitsConfig | None = None,
        latency_s: float = 0.0,
        falls: bool = False,
        **dispatch: Any,
    ) -> Iterator[Bridge]:
        """An active bridge whose planner goes on an errand; one that ``falls`` makes other targets of it."""
        link = self.make_link("robowm_bridge")
        if faults is not None:
            link = FaultyLink(faults, link)
        link.open()
        twin = self._make_twin()

        def senses(q: Array, dq: Array, effort: Array | None) -> dict[str, np.ndarray]:
            return {"proprio": twin.proprio(q, dq, np.zeros_like(q) if effort is None else effort)}

        config = RosArmConfig(
            limits=limits or self.limits, rate_hz=40.0, latency_s=latency_s, node="robowm_bridge"
        )
        reads = {k: v for k, v in self._spec.observation.items() if k == "proprio"}
        arm = RosArm(config, self._joints, reads, senses, link=LentLink(link))
        commander = self._make_twin().commander(
            self._spec.action.names, arm.spec.position_low, arm.spec.position_high
        )
        settings: dict[str, Any] = {"mode": mode, "command_s": 0.01 + latency_s, **dispatch}
        bridge = Bridge(
            link,
            arm,
            PlannerProcess(scripted.make, self._spec, errand),
            SafetyGate(SafetyConfig(), arm.spec, self._make_twin()),
            Falling(arm.spec.position_high[-1]) if falls else commander,
            self._spec.action.switch,
            DispatchConfig(**settings),
            BridgeConfig(),
            listeners=[self._listen],
        )
        try:
            done, why = bridge.machine.change("configure")
            require(done, f"the bridge was not configured: {why}")
            # The witness listens, too: that somebody does is not enough.
            until(lambda: link.listeners(TRAJECTORY) >= 2, 20.0, "the controller's listening")
            done, why = bridge.start()
            require(done, f"the bridge did not start: {why}")
            yield bridge
        finally:
            bridge.close()
            link.close()

    def happened(self, kind: Kind, after_wall_s: float = 0.0) -> Event | None:
        """The first event of that kind since then."""
        found = (e for e in list(self.events) if e.kind is kind and e.wall_s >= after_wall_s)
        return next(found, None)

    def check_safe(self, limits: LimitsConfig | None = None) -> None:
        """Nothing that was commanded or measured since the scene was laid out broke a limit."""
        limits = limits or self.limits
        joints = self._joints
        spec = limits.spec(joints.names, joints.low, joints.high, joints.velocity, 40.0)
        low, high = np.array(spec.position_low), np.array(spec.position_high)
        for _, told in list(self.witness.told):
            order = [told.names.index(name) for name in spec.joints]
            q, dq = told.position[:, order], told.velocity[:, order]
            require(bool(np.isfinite(q).all() and np.isfinite(dq).all()), "a command is no number")
            require(not dq[-1].any(), "a command does not end at rest")
            inside = (q >= low - ROUNDING) & (q <= high + ROUNDING)
            require(bool(inside.all()), "a command leaves the joint limits")
        box_low, box_high = np.array(limits.workspace_low), np.array(limits.workspace_high)
        for seen in list(self.witness.seen)[::4]:
            speed = np.abs(seen.dq[:-1]) / np.array(spec.velocity)[:-1]
            require(bool((speed < 1.1).all()), f"a joint moved at {speed.max():.2f} of its limit")
            tool, distance_m, bodies = self._twin.look(seen.q)
            inside = (tool >= box_low - ROUNDING) & (tool <= box_high + ROUNDING)
            require(bool(inside.all()), f"the tool left the workspace, at {tool.round(3).tolist()}")
            require(distance_m > 0, f"{' and '.join(bodies or ())} touched")

    def _listen(self, record: Record) -> None:
        if isinstance(record, Event):
            self.events.append(record)
