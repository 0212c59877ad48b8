"""Joint trajectories as cubics between waypoints, and how planned targets become chunks of them.

A joint trajectory controller that is given positions and velocities follows the cubic Hermite spline
through them (https://control.ros.org, joint_trajectory_controller: trajectory representation). What the
gate judges, what the simulated arm follows and what is sent is this same curve.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import ArrayLike

from robowm.dispatch.arm import ArmSpec, Array, Chunk


@dataclasses.dataclass(frozen=True)
class Extremes:
    """The worst along a trajectory, [N] each, in closed form.

    ``jerk`` is the most that acceleration changes within one sample of the drive, over its time: the
    step where cubics meet, and the slope beside it.
    """

    low: Array
    high: Array
    speed: Array
    acceleration: Array
    jerk: Array


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """A cubic spline that rests after its last knot.

    Attributes:
      time_s: [K] of the knots, increasing, on the observation's clock.
      q, dq: [K, N].
    """

    time_s: Array
    q: Array
    dq: Array

    @classmethod
    def rest(cls, time_s: float, q: Array) -> Trajectory:
        """Standing at ``q`` [N]."""
        return cls(np.array([time_s]), np.array(q, np.float64)[None], np.zeros((1, len(q))))

    @property
    def end_s(self) -> float:
        return float(self.time_s[-1])

    def at(self, time_s: ArrayLike) -> tuple[Array, Array, Array]:
        """Position, velocity and acceleration, [..., N] each; at rest before and after."""
        times = np.asarray(time_s, np.float64)
        if len(self.time_s) == 1:
            q = np.broadcast_to(self.q[0], (*times.shape, self.q.shape[1]))
            return q.copy(), np.zeros_like(q), np.zeros_like(q)
        first, last = self.time_s[0], self.time_s[-1]
        inside = np.minimum(np.maximum(times, first), last)
        k = np.searchsorted(self.time_s[1:-1], inside, side="right")
        start, velocity, a2, a3 = self._coefficients[:, k]
        t = (inside - self.time_s[k])[..., None]
        moving = ((times >= first) & (times < last))[..., None]
        return (
            start + t * (velocity + t * (a2 + t * a3)),
            np.where(moving, velocity + t * (2 * a2 + 3 * t * a3), 0.0),
            np.where(moving, 2 * a2 + 6 * t * a3, 0.0),
        )

    def after(self, time_s: float) -> Trajectory:
        """What is left at ``time_s``: it begins there, in full motion."""
        if time_s <= self.time_s[0]:
            return self
        q, dq, _ = self.at(time_s)
        left = self.time_s > time_s
        if not left.any():
            return Trajectory.rest(time_s, q)
        return Trajectory(
            np.append(time_s, self.time_s[left]),
            np.vstack([q, self.q[left]]),
            np.vstack([dq, self.dq[left]]),
        )

    def braking(self, time_s: float, spec: ArmSpec) -> Trajectory:
        """From here on to rest, every joint in the time that the fastest takes. A joint whose drive limits
        itself keeps the target that it was given: an object is not let go because the arm holds."""
        q, dq, _ = self.at(time_s)
        free = np.isinf(spec.acceleration)
        told = self.q[min(int(np.searchsorted(self.time_s, time_s, side="right")), len(self.q) - 1)]
        dq = np.where(free, 0.0, dq)
        brake_s = float(np.max(np.abs(dq) / (BRAKING * np.array(spec.acceleration))))
        if brake_s < 1e-6:
            return Trajectory.rest(time_s, np.where(free, told, q))
        return Trajectory(
            np.array([time_s, time_s + brake_s]),
            np.stack([q, np.where(free, told, q + dq * brake_s / 2)]),
            np.stack([dq, np.zeros_like(q)]),
        )

    def then(self, chunk: Chunk, now_s: float) -> Trajectory:
        """What an arm follows that is on this trajectory at ``now_s`` and is handed ``chunk``: from
        where it is to the first waypoint that is not yet past, at the time that is due."""
        times = chunk.t0_s + chunk.dt_s * np.arange(1, len(chunk.q) + 1)
        due = times > now_s + PAST_S
        q, dq, _ = self.at(now_s)
        if not due.any():  # all of it is past
            return self.after(now_s)
        return Trajectory(
            np.append(now_s, times[due]),
            np.vstack([q, chunk.q[due]]),
            np.vstack([dq, chunk.dq[due]]),
        )

    def extremes(self, servo_hz: float, before: Array | None = None) -> Extremes:
        """The worst from its beginning on.

        Args:
          servo_hz: samples of the drive a second.
          before: acceleration [N] with which it is come to; None: none where it begins at rest, else the
            one that it goes on with.
        """
        start, velocity, a2, a3 = self._coefficients
        n = self.q.shape[1]
        if not len(start):
            zero = np.zeros(n)
            return Extremes(self.q[0], self.q[0], zero, zero, zero)
        d = (self.time_s[1:] - self.time_s[:-1])[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            bend = -a2 / (3 * a3)  # speed is extreme at the ends or where acceleration vanishes
        bend = np.where((bend > 0) & (bend < d), bend, 0.0)
        stops = self._stops
        reached = start + stops * (velocity + stops * (a2 + stops * a3))  # [3, K - 1, N]
        speed = np.maximum(
            np.abs(self.dq).max(0), np.abs(velocity + bend * (2 * a2 + 3 * bend * a3)).max(0)
        )
        first, last, slope = 2 * a2, 2 * a2 + 6 * d * a3, 6 * a3
        if before is None:
            before = np.where(self.dq[0] == 0, 0.0, first[0])
        zero = np.zeros((1, n))
        steps = (np.concatenate([first, zero]) - np.concatenate([before[None], last])) * servo_hz
        # A sample that a knot lies in sees its step, and of the slopes beside it a mixture.
        jerk = np.maximum(
            np.abs(steps + np.concatenate([slope, zero])),
            np.abs(steps + np.concatenate([zero, slope])),
        )
        return Extremes(
            low=np.minimum(self.q.min(0), reached.min((0, 1))),
            high=np.maximum(self.q.max(0), reached.max((0, 1))),
            speed=speed,
            acceleration=np.maximum(np.abs(first), np.abs(last)).max(0),
            jerk=np.maximum(np.abs(slope).max(0), jerk.max(0)),
        )

    @functools.cached_property
    def turns_s(self) -> Array:
        """[T] times, in order, between which no joint turns back; its ends are the first and last."""
        stops = (self.time_s[:-1, None] + self._stops).ravel()
        return np.unique(np.concatenate([self.time_s, stops]))

    @functools.cached_property
    def _coefficients(self) -> Array:
        """q(t) = q0 + v0 t + a2 t^2 + a3 t^3 within each segment, [4, K - 1, N]."""
        d = (self.time_s[1:] - self.time_s[:-1])[:, None]
        slope = (self.q[1:] - self.q[:-1]) / d
        v0, v1 = self.dq[:-1], self.dq[1:]
        a2, a3 = (3 * slope - 2 * v0 - v1) / d, (v0 + v1 - 2 * slope) / d**2
        return np.stack([self.q[:-1], v0, a2, a3])

    @functools.cached_property
    def _stops(self) -> Array:
        """[3, K - 1, N] times within each segment at which a joint's speed vanishes, 0 for none."""
        _, velocity, a2, a3 = self._coefficients
        d = (self.time_s[1:] - self.time_s[:-1])[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(a2**2 - 3 * a3 * velocity)
            stops = np.stack(
                [(-a2 + root) / (3 * a3), (-a2 - root) / (3 * a3), -velocity / (2 * a2)]
            )
        return np.where((stops > 0) & (stops < d), stops, 0.0)


PAST_S = 1e-9  # a waypoint that is due this soon is past
BRAKING = 0.5  # share of the acceleration limit
BLEND = 0.5  # share of a step in which speed changes; at 1 it would swing from step to step


def through(
    targets: Array, before: Trajectory, start_s: float, step_s: float, dt_s: float, spec: ArmSpec
) -> Trajectory:
    """A trajectory that is at each joint target when that is due, and then brakes to rest.

    Speed changes evenly in the first half of a step and is kept in the second, as where the simulated
    arm was trained. A joint that its limits keep from being there in time is as near as they let it; near
    the end of its range it is so slow that it can brake within it after any step.

    Args:
      targets: [H, N], due ``step_s`` after each other, the first at ``start_s + step_s``.
      before: what is followed until ``start_s``; the trajectory begins with what is left of it.
      dt_s: of which braking takes a multiple, so that waypoints so far apart lie on its knots.
      spec: whose velocity and acceleration are kept; a joint without limits jumps to its targets.
    """
    fastest, change = np.array(spec.velocity), np.array(spec.acceleration) * BLEND * step_s
    low, high = np.array(spec.position_low), np.array(spec.position_high)
    q, speed, _ = before.at(start_s)
    free = np.isinf(fastest)  # its drive limits itself: it is told the target and no speed
    longest_s = _brake_s(np.where(free, 0.0, fastest), dt_s, spec)
    kept = before.time_s < start_s - 1e-9
    times = [*before.time_s[kept].tolist(), start_s]
    path = [*before.q[kept], q]
    speeds = [*before.dq[kept], np.where(free, 0.0, speed)]
    for h, target in enumerate(targets):
        begin, v = start_s + h * step_s, speeds[-1]
        after = ((target - path[-1]) / step_s - v * BLEND / 2) / (1 - BLEND / 2)
        # Where it will be by now, and the way that each unit of `after` adds until it is at rest.
        here, way_s = path[-1] + v * (BLEND * step_s / 2), (1 - BLEND / 2) * step_s + longest_s / 2
        slowest = np.maximum(-fastest, np.minimum((low - here) / way_s, 0.0))
        after = np.clip(after, slowest, np.minimum(fastest, np.maximum((high - here) / way_s, 0.0)))
        after = np.where(free, 0.0, np.clip(after, v - change, v + change))
        blended = path[-1] + (v + after) * (BLEND * step_s / 2)
        there = blended + after * ((1 - BLEND) * step_s)
        times += [begin + BLEND * step_s, begin + step_s]
        path += [np.where(free, target, blended), np.where(free, target, there)]
        speeds += [after, after]
    last = speeds[-1]
    if last.any() and np.isfinite(last).all():  # of what is no number, the gate says so
        brake_s = _brake_s(last, dt_s, spec)
        times.append(times[-1] + brake_s)
        path.append(path[-1] + last * brake_s / 2)
        speeds.append(np.zeros_like(last))
    return Trajectory(np.array(times), np.stack(path), np.stack(speeds))


def _brake_s(speed: Array, dt_s: float, spec: ArmSpec) -> float:
    """A multiple of ``dt_s`` in which every joint comes to rest; NaN where a speed is no number."""
    longest = float(np.max(np.abs(speed) / (BRAKING * np.array(spec.acceleration))))
    return dt_s * max(1, math.ceil(longest / dt_s)) if math.isfinite(longest) else math.nan


def chunk_of(
    trajectory: Trajectory, t0_s: float, dt_s: float, plan_id: str, joints: tuple[str, ...]
) -> Chunk:
    """What is left of a trajectory at ``t0_s``, as waypoints ``dt_s`` apart, at rest at the last."""
    count = max(1, math.ceil((trajectory.end_s - t0_s) / dt_s - 1e-9))
    q, dq, _ = trajectory.at(t0_s + dt_s * np.arange(1, count + 1))
    dq[-1] = 0.0
    return Chunk(t0_s, dt_s, q, dq, plan_id, joints)
