"""One gate before every arm, the simulated one included. It rejects and says why; it never clips.

What a preview shows is therefore what the arm would do, and a simulation cannot look better than the
arm by breaking limits that the arm keeps.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from robowm.dispatch.arm import ArmObservation, ArmSpec, ArmState, Array, Chunk
from robowm.dispatch.trajectory import PAST_S, Extremes, Trajectory
from robowm.errors import UserError

MOST_SAMPLES = 10_000  # of places along one chunk
NEAR_M = 0.05  # at which distance to what it could touch a margin counts as full
ROUNDING = (
    1e-9  # of a joint's range: a cubic between two points at an end stop may be so far beyond
)
INSTANT_S = 1e-6  # what happened this long ago was just before

Finding = tuple[str, float, str]  # a check's name, what is left to its limit, what it says past it


MOVABLE = (ArmState.READY, ArmState.HOLDING)


class Body(Protocol):
    """The shape of an arm and of what stands around it, such as ``robowm_envs.twin.Twin``.

    Attributes:
      reach_m: [N] at most how far a radian (or metre) of each joint moves any point of the arm.
    """

    reach_m: Array

    def look(self, q: Array) -> tuple[Array, float, tuple[str, str] | None]:
        """At joint position [N]: the tool point [3] (m, base frame); how far (m) the two nearest bodies
        that could touch are from each other, at least; and which they are."""
        ...


@dataclasses.dataclass
class SafetyConfig:
    """Attributes:
    stale_periods: age of an observation, in sample periods, at which commands stop; below five,
      ordinary jitter trips it.
    fresh_periods: age at which they go on again: hysteresis.
    tracking_tolerance: how far (rad) the arm may be from where it was commanded; a servo trails.
    rest_speed: that may be measured (rad/s) of an arm at rest, as it must be where nothing is followed.
    clearance_m: that bodies must keep from each other, and the tool from its workspace's border, at
      every look; between two looks they keep half of it.
    slack: fraction above velocity, acceleration and jerk limits that counts as rounding.
    max_duration_s: of a chunk: it is to be replaced long before its end.
    """

    stale_periods: float = 5.0
    fresh_periods: float = 2.0
    tracking_tolerance: float = 0.1
    rest_speed: float = 0.1
    clearance_m: float = 0.005
    slack: float = 1e-3
    max_duration_s: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.fresh_periods < self.stale_periods:
            raise UserError(
                f"safety.fresh_periods is {self.fresh_periods}, expected a number above 0 and below "
                f"stale_periods, {self.stale_periods}."
            )
        for name in ("tracking_tolerance", "slack"):
            if not getattr(self, name) >= 0:
                raise UserError(f"safety.{name} is {getattr(self, name)}, expected a number >= 0.")
        for name in ("max_duration_s", "clearance_m", "rest_speed"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"safety.{name} is {getattr(self, name)}, expected a number above 0."
                )


@dataclasses.dataclass(frozen=True)
class Decision:
    """``reasons`` is empty exactly where the chunk may be sent.

    Attributes:
      margins: what is left to each limit, as a share of it: 1 far from it, 0 at it, negative past it. A
        limit that was not come to, as something before it forbids the chunk, has none.
      broken: name of the check that each reason comes from.
    """

    reasons: tuple[str, ...]
    margins: dict[str, float]
    broken: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return not self.reasons


class SafetyGate:
    """Judges chunks against the limits of one arm, and knows what it follows."""

    def __init__(self, config: SafetyConfig, spec: ArmSpec, body: Body):
        self.config, self.spec, self.body = config, spec, body
        self._low, self._high = np.array(spec.position_low), np.array(spec.position_high)
        self._limits = {
            name: np.array(getattr(spec, name)) for name in ("velocity", "acceleration", "jerk")
        }
        # A drive that limits itself is not held to a path, and may be stopped by what it holds.
        self._driven = np.isfinite(self._limits["velocity"])
        self._workspace = np.array([spec.workspace_low, spec.workspace_high])
        self.reset()

    def reset(self) -> None:
        """Forget what is followed and the watchdog's memory: the arm was stopped, or moved by hand."""
        self._following: Trajectory | None = None
        self._stale = False
        self._newest_s = self._judged_s = -np.inf
        self._before: tuple[Trajectory | None, float] = None, -np.inf

    def check(
        self, chunk: Chunk, observation: ArmObservation, state: ArmState, preview: bool = False
    ) -> Decision:
        """Judge ``chunk`` against the newest observation. An accepted chunk is taken to be sent, but in
        a ``preview``."""
        if state not in MOVABLE:
            self._following = None  # it is left for good, wherever along it the arm was stopped
        broken = [*self._standing(state), *(("age", reason) for reason in self.watch(observation))]
        malformed = next(self._malformed(chunk, observation), None)
        if malformed:  # the numbers mean nothing, so no limit can be checked
            return _decision([*broken, malformed], {})
        now_s = observation.stamp_s + observation.age_s
        margins: dict[str, float] = {}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # absurd numbers, too
            was = self._followed(observation)
            path = was.then(chunk, now_s)
            meant, _, coming = was.at(np.array([observation.stamp_s, now_s - INSTANT_S]))
            worst = path.extremes(self.spec.servo_hz, before=coming[1])
            for name, margin, reason in self._limits_kept(chunk, worst, meant[0], observation):
                margins[name] = min(margin, margins.get(name, margin))
                if not margin >= 0:  # a NaN is no proof of safety
                    broken.append((name, reason))
            if not broken:  # looking takes longest, and where a fast arm would go is not known well
                for name, margin, reason in self._places(path, worst.speed):
                    margins[name] = margin
                    if not margin >= 0:
                        broken.append((name, reason))
        if not broken and not preview:
            self._before = self._following, self._newest_s
            self._follow(was, path)
            self._newest_s = chunk.t0_s
        return _decision(broken, margins)

    def withdraw(self) -> None:
        """The chunk that was last accepted was not taken by the arm: what was followed before it goes on."""
        self._following, self._newest_s = self._before

    def path(self, observation: ArmObservation) -> Trajectory:
        """What the arm is on from the observation's time: what was last accepted, or where it is."""
        return self._followed(observation).after(observation.stamp_s)

    def hold(self, observation: ArmObservation) -> Trajectory:
        """The arm was told to hold: it brakes from where it is, and stays there. What was planned before
        is void."""
        if _unmeasured(observation, len(self.spec.joints)):
            self._following = None  # where it brakes is not known: the next chunk begins at rest
            return Trajectory.rest(observation.stamp_s, observation.q)
        now_s = observation.stamp_s + observation.age_s
        was = self._followed(observation)
        path = was.braking(now_s, self.spec)
        self._follow(was, path)
        self._newest_s = max(self._newest_s, observation.stamp_s)
        return path

    def _followed(self, observation: ArmObservation) -> Trajectory:
        """What was last accepted, with what was followed before it; or where the arm is."""
        if self._following is not None:
            return self._following
        return Trajectory.rest(observation.stamp_s, observation.q)

    def _follow(self, was: Trajectory, path: Trajectory) -> None:
        """From its beginning on ``path`` is followed, and until then ``was``, which is kept as long as an
        observation may be late."""
        now_s = path.time_s[0]
        oldest_s = now_s - self.config.stale_periods / self.spec.rate_hz
        first = max(0, int(np.searchsorted(was.time_s, oldest_s, side="right")) - 1)
        kept = slice(first, int(np.searchsorted(was.time_s, now_s - INSTANT_S)))
        self._following = Trajectory(
            np.concatenate([was.time_s[kept], path.time_s]),
            np.concatenate([was.q[kept], path.q]),
            np.concatenate([was.dq[kept], path.dq]),
        )
        self._judged_s = now_s

    def watch(self, observation: ArmObservation) -> Iterator[str]:
        """Whether observations still come: to be asked of each, whether a chunk is to be sent or not."""
        period = 1 / self.spec.rate_hz
        limit = self.config.fresh_periods if self._stale else self.config.stale_periods
        self._stale = not 0 <= observation.age_s <= limit * period  # a NaN age is stale
        if self._stale:
            yield f"the observation is {observation.age_s:.3f} s old, the limit is {limit * period:.3f} s"

    def _standing(self, state: ArmState) -> Iterator[tuple[str, str]]:
        """What forbids any chunk at all."""
        if state == ArmState.STOPPED:
            yield "state", "the emergency stop is latched; reset the arm to go on"
        elif state == ArmState.DISCONNECTED:
            yield "state", "the arm is not connected"
        elif state not in MOVABLE:
            yield "state", f"the arm's state is {state}, which is none in which it may move"

    def _malformed(self, chunk: Chunk, observation: ArmObservation) -> Iterator[tuple[str, str]]:
        """Each check takes for granted what those before it found."""
        n = len(self.spec.joints)
        if tuple(chunk.joints) != self.spec.joints:
            yield (
                "joints",
                f"its joints are {', '.join(chunk.joints)}, expected {', '.join(self.spec.joints)}",
            )
        for name, array in (("q", chunk.q), ("dq", chunk.dq)):
            if array.dtype.kind not in "fiu":
                yield "shape", f"{name} is of {array.dtype}, expected real numbers"
            if array.ndim != 2 or array.shape[1] != n or not len(array):
                yield "shape", f"{name} has shape {array.shape}, expected (H, {n}) with H > 0"
            if not np.isfinite(array).all():
                joints = self._named(np.logical_not(np.isfinite(array).all(0)))
                yield "finite", f"{name} is not finite at {joints}"
        if chunk.q.shape != chunk.dq.shape:
            yield (
                "shape",
                f"q has shape {chunk.q.shape} and dq {chunk.dq.shape}, expected the same",
            )
        if reason := _unmeasured(observation, n):
            yield "measured", reason
        if not (np.isfinite(chunk.dt_s) and chunk.dt_s > 0 and np.isfinite(chunk.t0_s)):
            yield (
                "times",
                f"its times t0 = {chunk.t0_s}, dt = {chunk.dt_s} are not finite, with dt above 0",
            )
        if np.any(chunk.dq[-1]):
            yield "end", "it does not end at rest"
        duration_s, limit_s = len(chunk.q) * chunk.dt_s, self.config.max_duration_s
        if duration_s > limit_s * (1 + 1e-9):
            yield "duration", f"it takes {duration_s:.2f} s, the limit is {limit_s:.2f} s"
        if chunk.t0_s < self._newest_s:
            late_s = self._newest_s - chunk.t0_s
            yield "order", f"it is older than the one that is followed, by {late_s:.3f} s"
        now_s = observation.stamp_s + observation.age_s
        if now_s < self._judged_s - INSTANT_S:
            back_s = self._judged_s - now_s
            yield "clock", f"the observation's time runs backwards, by {back_s:.3f} s"
        if chunk.end_s <= now_s + PAST_S:
            yield "past", f"all of it is past, by {now_s - chunk.end_s:.3f} s"
        if chunk.t0_s > now_s + limit_s:
            yield "future", f"it begins {chunk.t0_s - now_s:.3f} s from now"
        speed = np.where(self._driven, np.abs(observation.dq), 0.0)
        if self._following is None and speed.max() > self.config.rest_speed:
            fast = self._named(speed > self.config.rest_speed)
            yield (
                "moving",
                f"nothing is followed, and yet the arm moves, at {fast}: {speed.max():.3f} rad/s",
            )

    def _limits_kept(
        self, chunk: Chunk, worst: Extremes, meant: Array, observation: ArmObservation
    ) -> Iterator[Finding]:
        """Of joints and tool, but for where these are.

        Args:
          worst: along what would be followed from now on.
          meant: where the joints [N] should have been as they were observed.
        """
        spec = self.spec
        # A drive that limits itself may be measured a hair beyond its stroke, and is only told its target.
        lowest = np.where(self._driven, worst.low, chunk.q.min(0))
        highest = np.where(self._driven, worst.high, chunk.q.max(0))
        room = np.minimum(lowest - self._low, self._high - highest) / (self._high - self._low)
        room = np.where(np.abs(room) < ROUNDING, 0.0, room)
        # A gripper, whose drive limits itself, lives at its end stops: there is no margin to show.
        shown = room[self._driven | (room < 0)]
        yield (
            "position",
            2 * float(shown.min(initial=0.5)),  # in the middle of its range a joint has all of it
            f"position leaves the limits of {self._named(~(room >= 0))}",
        )
        for name, reached in (
            ("velocity", worst.speed), ("acceleration", worst.acceleration), ("jerk", worst.jerk),
        ):  # fmt: skip
            share = reached / (self._limits[name] * (1 + self.config.slack))
            yield (
                name,
                1 - float(np.max(np.where(self._driven, share, 0.0))),
                f"{name} exceeds the limit of {self._named(self._driven & ~(share <= 1))} "
                f"({np.max(share[self._driven]):.2f} times)",
            )
        off = np.where(self._driven, np.abs(observation.q - meant), 0.0)
        yield (
            "tracking",
            1 - float(off.max()) / max(self.config.tracking_tolerance, 1e-9),
            f"the arm is not where it was commanded, at {self._named(off > self.config.tracking_tolerance)}: "
            f"{off.max():.3f} rad",
        )
        if observation.wrench is not None:
            force = float(np.linalg.norm(observation.wrench[:3]))
            yield (
                "force",
                1 - force / spec.force_n,
                f"the tool is pushed with {force:.1f} N, the limit is {spec.force_n:.1f} N",
            )

    def _places(self, path: Trajectory, speed: Array) -> Iterator[Finding]:
        """Tool and links along the way, looked at so often that nothing fits between two looks."""
        low, high = self._workspace
        clearance, half = self.config.clearance_m, (high - low) / 2
        q, way = self._samples(path, speed)
        if not len(q):
            yield "workspace", -np.inf, "it goes too far to be looked at"
            return
        workspace, collision, axes, pair = np.inf, np.inf, "", None

        def free(i: int) -> float:
            """What is left to the nearest limit (m) at sample i."""
            nonlocal workspace, collision, axes, pair
            tool, distance, bodies = self.body.look(q[i])
            room = np.minimum(tool - low, high - tool) - clearance
            workspace = float(np.minimum(workspace, (room / half).min()))  # which keeps a NaN
            if not room.min() >= 0 and not axes:
                axes = ", ".join(axis for axis, r in zip("xyz", room, strict=True) if not r >= 0)
            if not distance - clearance >= collision:
                collision, pair = float(distance) - clearance, bodies
            return min(float(room.min()), distance - clearance)

        last = len(q) - 1
        spans = collections.deque([(0, free(0), last, free(last))])
        while spans and workspace >= 0 and collision >= 0:
            i, free_i, j, free_j = spans.popleft()
            # Half way between them, what was left at both ends may be used up, and half the clearance.
            if j - i > 1 and way[j] - way[i] > free_i + free_j + clearance:
                middle = int(np.searchsorted(way, (way[i] + way[j]) / 2))
                middle = min(max(middle, i + 1), j - 1)
                free_middle = free(middle)
                spans += [(i, free_i, middle, free_middle), (middle, free_middle, j, free_j)]
        yield (
            "workspace",
            workspace,
            f"the tool leaves the workspace {self.spec.workspace_low} to {self.spec.workspace_high} m in "
            f"{axes}",
        )
        names = " and ".join(pair or ())
        yield "collision", collision / NEAR_M, f"it brings together {names}"

    def _samples(self, path: Trajectory, speed: Array) -> tuple[Array, Array]:
        """Joint positions [S, N] along ``path``, no further than a clearance from each other, and how far
        (m) any point of the arm has come at most, [S]; neither where that is too many."""
        fastest = float(speed @ self.body.reach_m)  # m/s, of any point
        count = fastest * (path.end_s - path.time_s[0]) / self.config.clearance_m
        if not count < MOST_SAMPLES:
            return np.empty((0, path.q.shape[1])), np.empty(0)
        even_s = np.linspace(path.time_s[0], path.end_s, 2 + math.ceil(count))
        # Where no joint turns back between two samples, its way is the difference of its positions.
        q = path.at(np.sort(np.concatenate([even_s, path.turns_s])))[0]
        way = np.cumsum(np.abs(q[1:] - q[:-1]) @ self.body.reach_m)
        return q, np.concatenate([[0.0], way])

    def _named(self, which: np.ndarray) -> str:
        return ", ".join(name for name, bad in zip(self.spec.joints, which, strict=True) if bad)


def _decision(broken: list[tuple[str, str]], margins: dict[str, float]) -> Decision:
    return Decision(
        tuple(reason for _, reason in broken), margins, tuple(name for name, _ in broken)
    )


def _unmeasured(observation: ArmObservation, n: int) -> str:
    """What of an observation of ``n`` joints is not to be relied on."""
    for name, measured in (("position", observation.q), ("velocity", observation.dq)):
        if measured.shape != (n,) or not np.isfinite(measured).all():
            return f"the measured {name} is not {n} finite numbers"
    if observation.wrench is not None and observation.wrench.shape != (6,):
        return f"the measured wrench has shape {observation.wrench.shape}, expected (6,)"
    if not (np.isfinite(observation.stamp_s) and np.isfinite(observation.age_s)):
        return (
            f"the observation's time {observation.stamp_s} or age {observation.age_s} is not finite"
        )
    return ""
