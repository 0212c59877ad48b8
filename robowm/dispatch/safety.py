"""One gate before every arm, the simulated one included. It rejects and says why; it never clips.

What a preview shows is therefore what the arm would do, and a simulation cannot look better than the
arm by breaking limits that the arm keeps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from robowm.dispatch.arm import ArmObservation, ArmSpec, ArmState, Array, Chunk
from robowm.errors import UserError

ToolPosition = Callable[[Array], Array]  # joint position [N] -> tool point [3] (m), base frame


@dataclasses.dataclass
class SafetyConfig:
    """Attributes:
    stale_periods: age of an observation, in sample periods, at which commands stop; below five,
      ordinary jitter trips it.
    fresh_periods: age at which they go on again: hysteresis.
    start_tolerance: how far (rad or m) the first waypoint may lie from the measured position
      beyond what the velocity limit covers; a servo trails its target.
    velocity_slack: fraction above the velocity limit that counts as rounding.
    """

    stale_periods: float = 5.0
    fresh_periods: float = 2.0
    start_tolerance: float = 0.1
    velocity_slack: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.fresh_periods < self.stale_periods:
            raise UserError(
                f"safety.fresh_periods is {self.fresh_periods}, expected a number above 0 and below "
                f"stale_periods, {self.stale_periods}."
            )
        for name in ("start_tolerance", "velocity_slack"):
            if not getattr(self, name) >= 0:
                raise UserError(f"safety.{name} is {getattr(self, name)}, expected a number >= 0.")


@dataclasses.dataclass(frozen=True)
class Decision:
    """``reasons`` is empty exactly where the chunk may be sent.

    Attributes:
      margins: what is left to each limit, as a share of it: 1 far from it, 0 at it, negative past it.
    """

    reasons: tuple[str, ...]
    margins: dict[str, float]

    @property
    def accepted(self) -> bool:
        return not self.reasons


class SafetyGate:
    """Judges chunks against the limits of one arm.

    Args:
      tool_position: forward kinematics, for the workspace box.
    """

    def __init__(self, config: SafetyConfig, spec: ArmSpec, tool_position: ToolPosition):
        self.config, self.spec, self.tool_position = config, spec, tool_position
        self._low, self._high = np.array(spec.position_low), np.array(spec.position_high)
        self._velocity = np.array(spec.velocity)
        self._workspace = np.array([spec.workspace_low, spec.workspace_high])
        self._stale = False
        self._commanded: Array | None = None

    def reset(self) -> None:
        """Forget the last command and the watchdog's memory, as at the start of an episode."""
        self._stale, self._commanded = False, None

    def check(self, chunk: Chunk, observation: ArmObservation, state: ArmState) -> Decision:
        """Judge ``chunk`` against the newest observation. An accepted chunk is taken to be sent."""
        reasons = list(self._standing(observation, state))
        margins: dict[str, float] = {}
        malformed = self._malformed(chunk, observation)
        if malformed:  # the numbers mean nothing, so no limit can be checked
            reasons.append(malformed)
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # absurd numbers are judged as well
                for name, margin, reason in self._limits(chunk, observation):
                    margins[name] = margin
                    if not margin >= 0:  # a NaN is no proof of safety
                        reasons.append(reason)
        decision = Decision(tuple(reasons), margins)
        if decision.accepted:
            self._commanded = chunk.q[-1].copy()
        return decision

    def _standing(self, observation: ArmObservation, state: ArmState) -> Iterator[str]:
        """What forbids any chunk at all."""
        if state is ArmState.STOPPED:
            yield "the emergency stop is latched; reset the arm to go on"
        elif state is ArmState.DISCONNECTED:
            yield "the arm is not connected"
        period = 1 / self.spec.rate_hz
        limit = self.config.fresh_periods if self._stale else self.config.stale_periods
        self._stale = not observation.age_s <= limit * period  # a NaN age is stale
        if self._stale:
            yield f"the observation is {observation.age_s:.3f} s old, the limit is {limit * period:.3f} s"

    def _malformed(self, chunk: Chunk, observation: ArmObservation) -> str:
        n = len(self.spec.joints)
        for name, array in (("q", chunk.q), ("dq", chunk.dq)):
            if array.ndim != 2 or array.shape[1] != n or not len(array):
                return f"{name} has shape {array.shape}, expected (H, {n}) with H > 0"
            if not np.isfinite(array).all():
                joints = self._named(np.logical_not(np.isfinite(array).all(0)))
                return f"{name} is not finite at {joints}"
        if chunk.q.shape != chunk.dq.shape:
            return f"q has shape {chunk.q.shape} and dq {chunk.dq.shape}, expected the same"
        if observation.q.shape != (n,) or not np.isfinite(observation.q).all():
            return f"the measured position is not {n} finite numbers"
        if not (np.isfinite(chunk.dt_s) and chunk.dt_s > 0 and np.isfinite(chunk.t0_s)):
            return f"its times t0 = {chunk.t0_s}, dt = {chunk.dt_s} are not finite, with dt above 0"
        if np.any(chunk.dq[-1]):
            return "it does not end at rest"
        return ""

    def _limits(
        self, chunk: Chunk, observation: ArmObservation
    ) -> Iterator[tuple[str, float, str]]:
        """Name, margin and complaint of each limit."""
        spec = self.spec
        room = np.minimum(chunk.q - self._low, self._high - chunk.q) / (self._high - self._low)
        worst = room.min(0)
        # A gripper, whose drive limits itself, lives at its end stops: there is no margin to show.
        shown = worst[np.isfinite(self._velocity) | (worst < 0)]
        yield (
            "position",
            2 * float(shown.min(initial=0.5)),  # in the middle of its range a joint has all of it
            f"position leaves the limits of {self._named(worst < 0)}",
        )

        start = observation.q if self._commanded is None else self._commanded
        speed = np.abs(np.diff(chunk.q, axis=0, prepend=start[None])) / chunk.dt_s
        speed = np.maximum(speed, np.abs(chunk.dq)).max(0)
        share = speed / (self._velocity * (1 + self.config.velocity_slack))
        yield (
            "velocity",
            1 - float(share.max()),
            f"velocity exceeds the limit of {self._named(share > 1)} ({share.max():.2f} times)",
        )

        reach = self._velocity * chunk.dt_s + self.config.start_tolerance
        jump = np.abs(chunk.q[0] - observation.q) / reach
        yield (
            "start",
            1 - float(jump.max()),
            f"the first waypoint is too far from where the arm is, at {self._named(jump > 1)}",
        )

        tool = np.stack([self.tool_position(q) for q in chunk.q])  # [H, 3]
        inside = np.minimum(tool - self._workspace[0], self._workspace[1] - tool)
        room = inside / (self._workspace[1] - self._workspace[0])
        axes = ", ".join(axis for axis, r in zip("xyz", room.min(0), strict=True) if r < 0)
        yield (
            "workspace",
            2 * float(room.min()),
            f"the tool leaves the workspace {spec.workspace_low} to {spec.workspace_high} m in {axes}",
        )

    def _named(self, which: np.ndarray) -> str:
        return ", ".join(name for name, bad in zip(self.spec.joints, which, strict=True) if bad)
