"""A joint trajectory controller, as the arm's side of the link has it: no clock, no link, no arm.

It keeps to what ROS 2's controller of that name does with a topic's messages
(https://control.ros.org, joint_trajectory_controller: parameters, trajectory representation and
replacement; source in ros-controls/ros2_controllers). The spline is written out here once more rather
than taken from :mod:`robowm.dispatch.trajectory`: who follows is to be independent of who plans.

Where it differs from the published one:

- A trajectory that starts later is spliced in when it starts, and what is past of one that began
  earlier is left out; from there the spline goes on from the desired state. (That is the documented
  trajectory replacement; the ROS 2 controller replaces at once.)
- A point that is due on arrival is past: nothing jumps to it.
- Points beyond the end stops are refused, where ros2_control leaves that to its joint limiter.
- Holding brakes at ``deceleration`` in place of stopping dead.
- A joint without a velocity limit, such as a gripper, is told its targets and held to no tolerance; it
  keeps its target while the others hold.
"""

from __future__ import annotations

import collections
import dataclasses
import enum

import numpy as np

from robowm.dispatch.arm import Array
from robowm.dispatch.wire.messages import JointTrajectory
from robowm.errors import UserError

ROUNDING = 1e-6  # rad or m: what float32 on the way may add to a limit
AT_REST = float(np.finfo(np.float32).eps)  # rad/s, as of the published controller


@dataclasses.dataclass
class ControllerConfig:
    """Named after the parameters of ROS 2's controller.

    Attributes:
      allow_nonzero_velocity_at_trajectory_end: else a trajectory must end at rest.
      interpolate_from_desired_state: else a new one begins at the measured state.
      cmd_timeout_s: hold so long after a trajectory's end ; 0 is never.
      path_tolerance_rad: between desired and measured on the way, or it aborts; 0 is any.
      goal_tolerance_rad: after the end; 0 is any.
      goal_time_s: after the end by which the goal must be reached; 0 is no matter when.
      deceleration: rad/s^2, of braking.
    """

    allow_nonzero_velocity_at_trajectory_end: bool = False
    interpolate_from_desired_state: bool = True
    cmd_timeout_s: float = 0.0
    path_tolerance_rad: float = 0.3
    goal_tolerance_rad: float = 0.1
    goal_time_s: float = 1.0
    deceleration: float = 20.0

    def __post_init__(self) -> None:
        times = (self.cmd_timeout_s, self.path_tolerance_rad, self.goal_tolerance_rad)
        if min(*times, self.goal_time_s) < 0 or not self.deceleration > 0:
            raise UserError(
                "controller: times and tolerances are 0 or more, and deceleration above 0."
            )


class ControllerState(enum.StrEnum):
    """``HOLDING`` nothing is followed; ``FOLLOWING`` a trajectory; ``ARRIVED`` after its end."""

    HOLDING = "holding"
    FOLLOWING = "following"
    ARRIVED = "arrived"


@dataclasses.dataclass(frozen=True)
class _Path:
    """Attributes:
    time_s: [K], increasing.
    q, dq: [K, N]; where a velocity is not a number, straight lines lead there and on.
    """

    time_s: Array
    q: Array
    dq: Array

    def at(self, time_s: float) -> tuple[Array, Array]:
        """Desired position and velocity [N]; at the first before it, at the last after it."""
        k = int(np.searchsorted(self.time_s, time_s, side="right")) - 1
        if k < 0 or k == len(self.time_s) - 1:
            k = max(k, 0)
            return self.q[k], np.nan_to_num(self.dq[k], nan=0.0)
        t, d = time_s - self.time_s[k], self.time_s[k + 1] - self.time_s[k]
        (q0, q1), (v0, v1) = self.q[k : k + 2], self.dq[k : k + 2]
        slope = (q1 - q0) / d
        curved = np.isfinite(v0 + v1)
        v0, v1 = np.where(curved, v0, slope), np.where(curved, v1, slope)
        a2, a3 = (3 * slope - 2 * v0 - v1) / d, (v0 + v1 - 2 * slope) / d**2
        return q0 + t * (v0 + t * (a2 + t * a3)), v0 + t * (2 * a2 + 3 * t * a3)

    @property
    def end_s(self) -> float:
        return float(self.time_s[-1])


class TrajectoryController:
    """Turns trajectories into what N drives are told at each moment. Times are on one clock of the
    caller's, which never goes back.

    Args:
      joints: N names.
      low, high: [N] end stops.
      velocity: [N] limits; infinite where the drive limits itself.

    Attributes:
      accepted: trajectories.
      rejected: how often for each reason: ``names``, ``empty``, ``sizes``, ``finite``, ``times``,
        ``end_velocity``, ``limits``, ``past``.
      last_rejection: the newest, as a sentence.
      aborts: how often a tolerance was violated.
      last_abort: the newest, as a sentence.
    """

    def __init__(
        self,
        config: ControllerConfig,
        joints: tuple[str, ...],
        low: Array,
        high: Array,
        velocity: Array,
    ):
        self._config, self.joints = config, joints
        self._low, self._high = low - ROUNDING, high + ROUNDING
        self._driven = np.isfinite(velocity)
        self.state = ControllerState.HOLDING
        self.accepted, self.aborts = 0, 0
        self.rejected: collections.Counter[str] = collections.Counter()
        self.last_rejection = self.last_abort = ""
        self.start(0.0, np.zeros(len(joints)))

    def start(self, time_s: float, q: Array) -> None:
        """Stand at ``q`` [N]."""
        still = np.zeros_like(q)
        self._path = _Path(np.array([time_s]), q[None].copy(), still[None])
        self._desired = self._measured = (q.copy(), still)
        self.state = ControllerState.HOLDING

    def accept(self, sent: JointTrajectory, time_s: float, start_s: float | None = None) -> str:
        """Follow a trajectory in place of the one before; why not, or nothing.

        Args:
          time_s: now.
          start_s: when it starts; None is now. Its own stamp is not read, for that is on another clock.
        """
        start = time_s if start_s is None else start_s
        kind, reason = self._judge(sent) or self._late(sent, start, time_s) or ("", "")
        if kind:
            self.rejected[kind] += 1
            self.last_rejection = reason
            return reason
        columns = [sent.names.index(name) for name in self.joints]
        q = np.asarray(sent.position, np.float64)[:, columns]
        dq = np.full_like(q, np.nan)
        if len(sent.velocity):
            dq = np.asarray(sent.velocity, np.float64)[:, columns]
        self._splice(start + sent.time_s, q, dq, start, time_s)
        self.accepted += 1
        self.state = ControllerState.FOLLOWING
        return ""

    def update(self, time_s: float, until_s: float, q: Array, dq: Array) -> tuple[Array, Array]:
        """Where to be at ``until_s``, and how fast, [N] each, from what is measured [N] at ``time_s``."""
        self._measured = (q, dq)
        if self.state is not ControllerState.HOLDING:
            self._watch(time_s)
        self._desired = self._path.at(until_s)
        return self._desired

    def stop(self, time_s: float) -> None:
        """Brake from where the drives were told to be, and hold."""
        self._brake(time_s, *self._path.at(time_s))

    def hold(self, time_s: float) -> None:
        """Brake from where the arm is, and hold."""
        self._brake(time_s, *self._measured)

    # Judgement

    def _judge(self, sent: JointTrajectory) -> tuple[str, str] | None:
        """What is wrong with a trajectory, whenever it starts."""
        if sorted(sent.names) != sorted(self.joints):
            unknown = sorted(set(sent.names) - set(self.joints))
            missing = sorted(set(self.joints) - set(sent.names))
            told = [f"knows no {', '.join(unknown)}"] * bool(unknown)
            told += [f"misses {', '.join(missing)}"] * bool(missing)
            return "names", f"the controller {' and '.join(told) or 'is told a joint twice'}"
        count = len(sent.time_s)
        if count == 0:
            return "empty", "the trajectory has no points"
        expected = (count, len(self.joints))
        position, velocity = np.shape(sent.position), np.shape(sent.velocity)
        if (
            np.ndim(sent.time_s) != 1
            or position != expected
            or (velocity != expected and np.size(sent.velocity))
        ):
            return "sizes", (
                f"positions have shape {position} and velocities {velocity}, expected {expected}"
            )
        if not all(np.isfinite(x).all() for x in (sent.time_s, sent.position, sent.velocity)):
            return "finite", "the trajectory holds what is no finite number"
        if sent.time_s[0] < 0 or (np.diff(sent.time_s) <= 0).any():
            return "times", "the times between points are not strictly increasing from 0 on"
        speed = np.abs(sent.velocity[-1:]).max(initial=0.0)
        if speed > AT_REST and not self._config.allow_nonzero_velocity_at_trajectory_end:
            return "end_velocity", f"the trajectory ends at {speed:.3g} rad/s, not at rest"
        columns = [self.joints.index(name) for name in sent.names]
        beyond = (sent.position < self._low[columns]) | (sent.position > self._high[columns])
        if beyond.any():
            name = sent.names[int(np.argmax(beyond.any(0)))]
            return "limits", f"{name} would leave its end stops"
        return None

    def _late(self, sent: JointTrajectory, start_s: float, time_s: float) -> tuple[str, str] | None:
        last = float(sent.time_s[-1])
        if last == 0.0 or start_s + last <= time_s:
            ago = time_s - start_s - last
            return "past", f"no point is left of the trajectory, which ended {ago:.3f} s ago"
        return None

    def _watch(self, time_s: float) -> None:
        """Abort or time out."""
        config, end = self._config, self._path.end_s
        error = np.abs(self._desired[0] - self._measured[0])[self._driven]
        worst = int(np.argmax(error))
        if time_s < end:
            if 0 < config.path_tolerance_rad < error[worst]:
                self._abort(time_s, f"is {error[worst]:.3f} rad off the path", worst)
            return
        self.state = ControllerState.ARRIVED
        missed = 0 < config.goal_tolerance_rad < error[worst]
        if missed and 0 < config.goal_time_s < time_s - end:
            self._abort(time_s, f"is {error[worst]:.3f} rad off the goal", worst)
        elif 0 < config.cmd_timeout_s < time_s - end:
            self.stop(time_s)

    def _abort(self, time_s: float, what: str, driven: int) -> None:
        self.aborts += 1
        self.last_abort = f"{self.joints[np.flatnonzero(self._driven)[driven]]} {what}"
        self.hold(time_s)

    # Motion

    def _splice(self, due_s: Array, q: Array, dq: Array, start_s: float, time_s: float) -> None:
        """Go on along the path until the start, or from now, and then to the points that are due."""
        begin = max(start_s, time_s)
        here, speed = self._path.at(begin)
        if begin == time_s and not self._config.interpolate_from_desired_state:
            here = np.where(self._driven, self._measured[0], here)
            speed = np.where(self._driven, self._measured[1], speed)
        left, before = due_s > begin, self._path.time_s < begin
        # Of what was followed, from the last knot that is past.
        past = int(np.searchsorted(self._path.time_s, time_s, side="right"))
        before[: max(past - 1, 0)] = False
        self._path = _Path(
            np.concatenate([self._path.time_s[before], [begin], due_s[left]]),
            np.vstack([self._path.q[before], here, q[left]]),
            np.vstack([self._path.dq[before], speed, dq[left]]),
        )

    def _brake(self, time_s: float, q: Array, dq: Array) -> None:
        target = self._path.at(time_s)[0]
        q, dq = np.where(self._driven, q, target), np.where(self._driven, dq, 0.0)
        brake_s = max(float(np.abs(dq).max()) / self._config.deceleration, 1e-3)
        end = np.clip(q + dq * brake_s / 2, self._low, self._high)
        self._path = _Path(
            np.array([time_s, time_s + brake_s]),
            np.stack([q, end]),
            np.stack([dq, np.zeros_like(dq)]),
        )
        self.state = ControllerState.HOLDING
