"""The control steps of an episode: when each begins, what is done in it, and what the agent has yet to
be told of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from robowm.dispatch.arm import ArmObservation
from robowm.dispatch.online.planner_child import Step
from robowm.dispatch.online.splice import Grid, Schedule
from robowm.dispatch.record.records import Executed, Observed, Record


class Steps:
    """Counted from the first observation of an episode on.

    Args:
      switches: [A] as of :class:`~robowm.dispatch.online.splice.Schedule`.
      slack_s: by which an observation may come before the time of the step that it begins.
      most_unseen: steps in a row that may lack an observation; after more, an episode begins.
      tell: of what is observed and executed.

    Attributes:
      episode: counts up where the agent forgets what was.
      now: the step that goes on; -1 before the first.
      opened: the newest observation that began a step.
      schedule: what is done in each.
      untold: steps that the agent has not been told of.
      forget: whether it is to forget what was before these.
    """

    def __init__(
        self,
        switches: Sequence[bool],
        step_s: float,
        slack_s: float,
        most_unseen: int,
        tell: Callable[[Record], None],
    ):
        self.step_s, self._slack_s, self._most_unseen = (
            step_s,
            min(slack_s, step_s / 2),
            most_unseen,
        )
        self._tell = tell
        self.schedule = Schedule(switches)
        self._seen_s = float("-inf")
        self.episode = -1
        self.restart()

    def restart(self) -> None:
        """An episode begins with the next observation."""
        self.episode += 1
        self.now, self.grid = -1, Grid(float("nan"), self.step_s)
        self.opened: ArmObservation | None = None
        self._seen_s = float("-inf")
        self.schedule.restart()
        self.tell_anew()

    def tell_anew(self) -> None:
        """The agent begins with the next step: there is nobody to be told of those before."""
        self.untold: list[Step] = []
        self.forget = True

    def told(self) -> None:
        self.untold, self.forget = [], False

    def see(self, observation: ArmObservation) -> int:
        """Begin the step whose time has come, if one has; returns how many have begun.

        Those that were missed begin unseen. An observation that was seen before is no news.
        """
        stamp_s = observation.stamp_s
        if stamp_s == self._seen_s:
            return 0
        if self.now < 0:
            self.grid = Grid(stamp_s, self.step_s)
        step = self.grid.at(stamp_s + self._slack_s)
        if stamp_s < self._seen_s or step - self.now - 1 > self._most_unseen:
            self.restart()
            self.grid, step = Grid(stamp_s, self.step_s), 0
        self._seen_s = stamp_s
        begun = step - self.now
        while self.now < step:
            self._next(observation if self.now + 1 == step else None)
        self._tell(Observed(time.time(), observation, step if begun else None, self.episode))
        return begun

    def cut(self) -> None:
        """Stand still from this step on."""
        if self.now >= 0:
            self.schedule.cut(self.now)

    @property
    def began_s(self) -> float:
        """When this step began."""
        return self.grid.start_s(self.now)

    def _next(self, observation: ArmObservation | None) -> None:
        executed = None
        if self.now >= 0:
            executed = self.schedule.at(self.now)
            self._tell(Executed(time.time(), self.began_s, self.now, executed, self.episode))
        self.now += 1
        self.schedule.forget(self.now)
        if observation is not None:
            self.opened = observation
        first = self.forget and not self.untold
        arrays = None if observation is None else observation.arrays
        self.untold.append(Step(None if first else executed, arrays))
