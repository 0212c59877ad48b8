"""Episodes that an expert drove, and the same under other limits and clocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from robowm.dispatch.arm import ArmObservation, ArmSpec, Chunk
from robowm.dispatch.loop import Tick


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
    def of(cls, task: str, spec: ArmSpec, ticks: Sequence[Tick]) -> Recording:
        """Of an episode of the loop, without its pictures."""
        return cls(
            task,
            spec,
            tuple((tick.chunk, dataclasses.replace(tick.observation, arrays={})) for tick in ticks),
        )

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
