"""Settings of a :class:`robowm.dispatch.online.dispatcher.Dispatcher`."""

from __future__ import annotations

import dataclasses

from robowm.dispatch.online.status import Mode
from robowm.errors import UserError, unknown


@dataclasses.dataclass
class DispatchConfig:
    """Attributes:
    mode: ``shadow`` sends nothing, ``confirm`` asks for approval of each plan, ``auto`` asks nobody.
    step_s: that an action takes. A multiple of what it took in training is slower and gentler.
    waypoint_s: between the waypoints of a chunk; half of ``step_s``, or a part of that.
    poll_hz: turns of the control loop; at least 50.
    lead_steps: between an observation and the first action planned from it; null measures how long
      plans take and chooses.
    lead_quantile: of the measured latencies that must be met.
    command_s: from sending a chunk until the arm follows it.
    max_rejections: in a row, at which the arm holds until it is reset: the planner does not get free.
    planner_timeout_s: after which a planner that does not answer is given up.
    restart_planner: start another one where one has died; else that waits for the operator.
    approval_s: for which a plan may be approved.
    still_rad_s: measured speed below which the arm counts as at rest.
    moved_rad: that the arm may have moved between a plan and its approval.
    unseen_steps: that may pass without an observation before the agent begins anew.
    """

    mode: str = "confirm"
    step_s: float = 0.1
    waypoint_s: float = 0.05
    poll_hz: float = 100.0
    lead_steps: int | None = None
    lead_quantile: float = 0.9
    command_s: float = 0.01
    max_rejections: int = 5
    planner_timeout_s: float = 3.0
    restart_planner: bool = False
    approval_s: float = 30.0
    still_rad_s: float = 0.05
    moved_rad: float = 0.02
    unseen_steps: int = 10

    def __post_init__(self) -> None:
        def check(name: str, good: bool, expected: str) -> None:
            if not good:
                raise UserError(f"dispatch.{name} is {getattr(self, name)}, expected {expected}.")

        if self.mode not in list(Mode):
            raise unknown("dispatch.mode", self.mode, Mode)
        for name in (
            "step_s",
            "waypoint_s",
            "planner_timeout_s",
            "approval_s",
            "still_rad_s",
            "moved_rad",
        ):
            check(name, getattr(self, name) > 0, "a number above 0")
        parts = self.step_s / 2 / self.waypoint_s if self.waypoint_s > 0 else 0.0
        check(
            "waypoint_s",
            round(parts) >= 1 and abs(parts - round(parts)) < 1e-6,
            "half of step_s, or a whole part of that",
        )
        check("poll_hz", self.poll_hz >= 50, "at least 50")
        check("lead_steps", self.lead_steps is None or self.lead_steps >= 1, "null or at least 1")
        check("lead_quantile", 0 < self.lead_quantile <= 1, "above 0 and at most 1")
        check("command_s", self.command_s >= 0, "0 or more")
        check("max_rejections", self.max_rejections >= 1, "at least 1")
        check("unseen_steps", self.unseen_steps >= 0, "0 or more")
