"""Episodes that an expert drove, and the same under other limits and clocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from robowm.dispatch import loop
from robowm.dispatch.arm import ArmObservation, ArmSpec, Chunk, Observation
from robowm.dispatch.arms.sim import SimArm
from robowm.dispatch.safety import Body, SafetyConfig, SafetyGate
from robowm.dispatch.trajectory import Trajectory, chunk_of
from robowm.planning.protocol import Plan


class Expert(Protocol):
    """Such as ``robowm_envs.expert.Expert``."""

    def reset(self) -> None: ...

    def act(self, observation: Any = None) -> np.ndarray: ...


class Demonstrator:
    """An expert as the loop's agent: it does not plan, and needs no telling what was done."""

    last_plan: Plan | None = None

    def __init__(self, expert: Expert):
        self._expert = expert

    def reset(self) -> None:
        self._expert.reset()

    def act(self, observation: Observation, committed: Sequence[np.ndarray] = ()) -> np.ndarray:
        return self._expert.act(observation)

    def executed(self, action: np.ndarray) -> None:
        pass


def demonstrate(
    arm: SimArm, expert: Expert, body: Body, commander: loop.Commander, switches: tuple[bool, ...]
) -> loop.Episode:
    """The connected arm's episode, driven by ``expert`` through a gate."""
    return loop.run(
        arm,
        Demonstrator(expert),
        SafetyGate(SafetyConfig(), arm.spec, body),
        commander,
        switches,
        over=lambda: arm.timestep.last(),
    )


@dataclasses.dataclass(frozen=True)
class Recording:
    """Attributes:
    task: what it shows.
    ticks: each chunk, and the observation that it was sent upon.
    """

    task: str
    spec: ArmSpec
    ticks: tuple[tuple[Chunk, ArmObservation], ...]

    @classmethod
    def of(cls, task: str, spec: ArmSpec, ticks: Sequence[loop.Tick]) -> Recording:
        """Of an episode of the loop, without its pictures."""
        return cls(
            task,
            spec,
            tuple((tick.chunk, dataclasses.replace(tick.observation, arrays={})) for tick in ticks),
        )

    def refined(self) -> Recording:
        """The same curves with twice as many waypoints."""
        spec, ticks = self.spec, []
        path = Trajectory.rest(self.ticks[0][1].stamp_s, self.ticks[0][1].q)
        for chunk, seen in self.ticks:
            path = path.then(chunk, seen.stamp_s + seen.age_s)
            ticks.append(
                (chunk_of(path, chunk.t0_s, chunk.dt_s / 2, chunk.plan_id, spec.joints), seen)
            )
        return Recording(f"{self.task}, refined", spec, tuple(ticks))

    def slowed(self, factor: float = 3.0) -> Recording:
        """The same way in ``factor`` times the time, under limits that this brings near."""
        spec = dataclasses.replace(
            self.spec,
            velocity=tuple(v / factor for v in self.spec.velocity),
            acceleration=tuple(a / factor for a in self.spec.acceleration),
            jerk=tuple(j / 7 for j in self.spec.jerk),  # here it binds before acceleration does
        )
        ticks = tuple(
            (
                dataclasses.replace(
                    chunk, t0_s=chunk.t0_s * factor, dt_s=chunk.dt_s * factor, dq=chunk.dq / factor
                ),
                dataclasses.replace(seen, stamp_s=seen.stamp_s * factor, dq=seen.dq / factor),
            )
            for chunk, seen in self.ticks
        )
        return Recording(f"{self.task}, slowed", spec, ticks)

    def unbounded(self) -> Recording:
        """The same in a workspace that the arm cannot leave: there bodies are the limit."""
        spec = dataclasses.replace(
            self.spec, workspace_low=(-2.0, -2.0, -2.0), workspace_high=(2.0, 2.0, 2.0)
        )
        return Recording(f"{self.task}, unbounded", spec, self.ticks)

    def later(self, by_s: float) -> Recording:
        """The same on a clock that shows ``by_s`` more."""
        ticks = tuple(
            (
                dataclasses.replace(chunk, t0_s=chunk.t0_s + by_s),
                dataclasses.replace(seen, stamp_s=seen.stamp_s + by_s),
            )
            for chunk, seen in self.ticks
        )
        return Recording(f"{self.task}, later", self.spec, ticks)
