"""The control loop of a real arm: it looks, joins plans to what is followed, and never waits.

The planner runs beside it in a process of its own. A turn of the loop, at ``poll_hz``:

1. observe the arm, and begin a control step when its time has come;
2. do what was asked for from other threads (reset, hold, another mode);
3. watch the emergency stop, the observation's age, the arm and the planner; hold where one is amiss;
4. take a plan that has come, skip what of it is past, join the rest to what is followed, have it judged,
   and send it; or show it to the operator, and send it when that is approved;
5. tell the planner what was executed since, and ask for the next plan.

What is sent does the rest of the plan and then brakes: a planner that is late leaves the arm on its last
plan, one that hangs leaves it at rest.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from robowm.dispatch.arm import Arm, ArmObservation, ArmState
from robowm.dispatch.online.approvals import Approvals, Card, Verdict
from robowm.dispatch.online.dispatch_config import DispatchConfig
from robowm.dispatch.online.plan_facts import PlanFacts
from robowm.dispatch.online.planner import PlannerProcess, PlannerState
from robowm.dispatch.online.planner_child import Answer, Request
from robowm.dispatch.online.splice import Grid, join, lead
from robowm.dispatch.online.status import Counts, Latencies, Mode, State, Status
from robowm.dispatch.online.steps import Steps
from robowm.dispatch.pilot import Commander, Outcome, Pilot
from robowm.dispatch.record.records import Event, Kind, Listener, Planned, Record
from robowm.dispatch.safety import SafetyGate

logger = logging.getLogger(__name__)
ACTIVE = (State.RUNNING, State.OFFERING)
CLOCK_JUMP_S = 1.0  # by which a clock goes back that was set; by less, messages came out of order


@dataclasses.dataclass(frozen=True)
class Asked:
    """A plan that is being made, of the ``observation`` that began ``step``, for ``lead_steps`` later.

    Attributes:
      chapter: in which it was asked for; later it is of no use.
    """

    plan_id: str
    step: int
    lead_steps: int
    observation: ArmObservation
    chapter: int


@dataclasses.dataclass(frozen=True)
class Offered:
    """A plan whose first ``actions`` wait for approval."""

    asked: Asked
    plan: PlanFacts
    actions: int


class Dispatcher:
    """Drives ``arm``, which is connected, by what ``planner`` plans, through ``gate``.

    :meth:`estop`, :meth:`reset`, :meth:`hold`, :meth:`set_mode`, :meth:`begin`,
    :meth:`restart_planner` and :meth:`status` may be called from any thread.

    In ``shadow`` nothing leaves but an emergency stop, and the agent is told that the arm stands still,
    whoever moves it.

    Args:
      switches: [A] True where an action's dimension is a switch, as in ``ActionSpec.switch``.
      approvals: for ``confirm``.
      listeners: told of each record.
    """

    def __init__(
        self,
        arm: Arm,
        planner: PlannerProcess,
        gate: SafetyGate,
        commander: Commander,
        switches: Sequence[bool],
        config: DispatchConfig | None = None,
        approvals: Approvals | None = None,
        listeners: Iterable[Listener] = (),
    ):
        self.config = config = config or DispatchConfig()
        self.arm, self.planner, self.gate = arm, planner, gate
        self.approvals = approvals or Approvals()
        self._listeners = list(listeners)
        self._commanding = threading.Lock()
        self._pilot = Pilot(
            arm, gate, commander, config.step_s, config.waypoint_s, self.tell, self._commanding
        )
        self._steps = Steps(
            switches, config.step_s, 0.5 / config.poll_hz, config.unseen_steps, self.tell
        )
        self._driven = np.isfinite(np.array(arm.spec.velocity))
        self._mode, self._state, self._reason = Mode(config.mode), State.WAITING, ""
        self._latched = ""  # why it holds until it is reset
        self._counts, self._latencies = Counts(), Latencies()
        self._refused = 0  # in a row
        self._planner_was = PlannerState.OFF
        self._plan_id, self._plans_asked, self._chapter = "", 0, 0
        self._asked: Asked | None = None
        self._offered: Offered | None = None
        self._rest_s = -math.inf  # when the arm is at rest, by what it was told
        self._braking, self._held_s = False, math.nan
        self._constraints: dict[str, np.ndarray] = {}
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._observation: ArmObservation | None = None
        self._observed_s = math.nan

    # ------------------------------------------------------------------ from any thread

    def estop(self) -> None:
        """Stop the arm now, whatever else goes on; latched until :meth:`reset`."""
        # Not while a chunk is being handed over, which might undo it; but never waiting for long.
        free = self._commanding.acquire(timeout=1 / self.config.poll_hz)
        try:
            self.arm.estop()
        finally:
            if free:
                self._commanding.release()
        self._wake.set()

    def reset(self) -> None:
        """Leave an emergency stop, or a hold that waits for this."""
        self._request(self._reset)

    def resume(self) -> None:
        """Before another :meth:`run`: the arm may have been moved since the last. An emergency stop stays."""
        self._request(self._resume)

    def hold(self, reason: str = "the operator wants it") -> None:
        """Brake and stay until :meth:`reset`."""
        self._request(lambda: self._latch(reason))

    def set_mode(self, mode: Mode) -> None:
        self._request(lambda: self._set_mode(mode))

    def begin(self, constraints: Mapping[str, np.ndarray] | None = None) -> None:
        """An episode begins: the agent forgets what was, and obeys these constraints."""
        self._request(lambda: self._begin(dict(constraints or {})))

    def restart_planner(self) -> None:
        self._request(self._restart_planner)

    def listen(self, listener: Listener) -> None:
        """Tell one more of each record from now on."""
        self._listeners.append(listener)

    def status(self) -> Status:
        seen, card = self._observation, self.approvals.pending
        return Status(
            mode=self._mode,
            state=self._state,
            reason=self._reason,
            plan_id=self._plan_id,
            offered=card.plan_id if card else "",
            episode=self._steps.episode,
            steps=self._steps.now + 1,
            **vars(self._counts),
            observation_age_s=self._age_s(seen) if seen else math.nan,
            stamp_s=seen.stamp_s if seen else math.nan,
            latency_p50_s=self._latencies.quantile(0.5),
            latency_p99_s=self._latencies.quantile(0.99),
            lead_steps=self._lead_steps(),
            planner=str(self.planner.state),
            planner_starts=self.planner.starts,
        )

    # ------------------------------------------------------------------ the loop

    def run(self, until: Callable[[], bool]) -> None:
        """Go on until ``until`` says so, asked at every turn; then hold. A planner that is off is started,
        and ended with it."""
        period_s, starts_it = 1 / self.config.poll_hz, self.planner.state is PlannerState.OFF
        self._event(Kind.MODE, self._mode)
        try:
            if starts_it:
                self._restart_planner()
            due_s = time.monotonic()
            while not until():
                self.turn()
                due_s += period_s
                late_s = time.monotonic() - due_s
                if late_s > 0:
                    self._counts.late_turns += 1
                    due_s += late_s  # what was missed is not caught up with
                self._wake.wait(max(-late_s, 0.0))
                self._wake.clear()
        finally:
            try:
                if self._state is not State.STOPPED and self._observation is not None:
                    self._hold("the dispatcher ends")
            finally:
                if starts_it:
                    self.planner.close()

    def turn(self) -> None:
        """One turn of the loop."""
        observation = self._usable(self.arm.observe())
        if observation is None:
            return
        self._look(observation)
        while not self._requests.empty():
            self._requests.get()()
        answer = self.planner.answer()
        self._watch_planner()
        self._watch(observation)
        if answer is not None:
            self._arrived(answer, observation)
        if self._offered is not None:
            self._heed_operator(self._offered, observation)
        if self.planner.state is PlannerState.READY:
            self._ask(observation)

    def _usable(self, observation: ArmObservation) -> ArmObservation | None:
        """The observation, or where it is no number or out of order the one before, which has aged."""
        last = self._observation
        back_s = last.stamp_s - observation.stamp_s if last is not None else 0.0
        if _is_finite(observation) and not 0 < back_s < CLOCK_JUMP_S:
            return observation
        if last is None:
            return None
        return dataclasses.replace(last, age_s=self._age_s(last))

    def _look(self, observation: ArmObservation) -> None:
        """Begin the step whose time has come, if one has."""
        last, self._observation, self._observed_s = self._observation, observation, time.monotonic()
        if last is not None and observation.stamp_s < last.stamp_s:
            self._hold("the observation's clock went back")
            self._pilot.reset()
            self._rest_s = -math.inf
        episode = self._steps.episode
        begun = self._steps.see(observation)
        if self._steps.episode > episode:
            self._event(Kind.EPISODE, "begins: what was before is too long ago")
        asked = self._asked
        if asked is not None and begun and 0 < asked.lead_steps <= self._steps.now - asked.step:
            self._counts.deadline_misses += 1
            self._event(Kind.MISSED, f"thinking for {self.planner.busy_s:.3f} s", asked.plan_id)

    # ------------------------------------------------------------------ watching

    def _watch_planner(self) -> None:
        planner, limit_s = self.planner, self.config.planner_timeout_s
        if planner.busy_s > limit_s:
            planner.give_up(f"the planner did not answer within {limit_s:.1f} s")
        if planner.state not in (PlannerState.READY, PlannerState.BUSY):
            self._asked = None
            self._steps.tell_anew()
        was, self._planner_was = self._planner_was, planner.state
        if planner.state is PlannerState.DEAD and was is not PlannerState.DEAD:
            self._event(Kind.PLANNER, planner.error)
            if self.config.restart_planner:
                self._request(self._restart_planner)
        elif planner.state is PlannerState.READY and was is PlannerState.STARTING:
            self._event(Kind.PLANNER, "ready")

    def _watch(self, observation: ArmObservation) -> None:
        """Hold where something is amiss, and go on when nothing is."""
        if self.arm.state is ArmState.STOPPED:
            if self._state is not State.STOPPED:
                self._drop_plans()
                self._steps.cut()
                self._event(Kind.ESTOP)
                self._become(State.STOPPED, "the emergency stop is latched")
        elif self._state is State.STOPPED:
            self._latch("the arm was let out of its emergency stop elsewhere")
        elif amiss := "; ".join(self._amiss(observation)):
            if self._state in ACTIVE:
                self._hold(amiss)
            else:
                self._become(self._state, amiss)
        elif self._state not in ACTIVE and self._is_still(observation):
            self._event(Kind.RESUME)
            self._become(State.RUNNING)

    def _amiss(self, observation: ArmObservation) -> list[str]:
        """Why the arm may not be moved now."""
        reasons = [self._latched] if self._latched else []
        if self.arm.state is ArmState.DISCONNECTED:
            reasons.append("the arm is not connected")
        reasons += self.gate.watch(observation)
        if self.planner.state is PlannerState.DEAD:
            reasons.append(self.planner.error)
        elif self.planner.state in (PlannerState.OFF, PlannerState.STARTING):
            reasons.append("the planner is being loaded")
        elif self._is_late(observation):
            reasons.append("the arm has come to the end of its last plan")
        return reasons

    def _is_late(self, observation: ArmObservation) -> bool:
        """Whether the arm rests because the planner takes longer than it said and was planned for."""
        asked = self._asked
        if asked is None or self._mode is not Mode.AUTO or not self._counts.sent:
            return False
        waited = self._steps.now - asked.step
        return waited > asked.lead_steps and observation.stamp_s > self._rest_s

    def _is_still(self, observation: ArmObservation) -> bool:
        if self._mode is Mode.SHADOW:
            return True  # nothing is sent: somebody else may be moving it
        speed = np.abs(observation.dq[self._driven]).max(initial=0.0)
        return bool(speed <= self.config.still_rad_s) and observation.stamp_s >= self._rest_s

    # ------------------------------------------------------------------ holding and going on

    def _hold(self, reason: str) -> None:
        """Brake and stay."""
        logger.warning("holding: %s", reason)
        self._counts.holds += 1
        self._drop_plans()
        self._brake()
        self._event(Kind.HOLD, reason)
        self._become(State.HOLDING, reason)

    def _brake(self) -> None:
        self._steps.cut()
        if self._mode is not Mode.SHADOW and self._observation is not None:
            self._rest_s, self._braking = self._pilot.hold(self._observation), True
            self._held_s = self._observation.stamp_s

    def _drop_plans(self) -> None:
        """What is being planned or offered was for how things were."""
        self._chapter += 1
        self._offered = None
        self.approvals.withdraw()

    def _latch(self, reason: str) -> None:
        self._latched = reason
        self._hold(reason)

    def _reset(self) -> None:
        if self._state in ACTIVE:
            return  # there is nothing to leave
        if self.arm.state is ArmState.STOPPED:
            self.arm.reset()
            self._rest_s = -math.inf  # it may have been moved by hand; it is looked at
        self._forget()
        self._event(Kind.RESET)

    def _resume(self) -> None:
        self._rest_s = -math.inf
        self._forget()

    def _forget(self) -> None:
        """Why it held, and what was commanded."""
        self._latched, self._refused = "", 0
        self._pilot.reset()
        self._become(State.HOLDING, "until the arm is seen at rest")

    def _set_mode(self, mode: Mode) -> None:
        if self._state in ACTIVE:
            self._hold(f"the mode becomes {mode}")
        self._mode = mode
        self._event(Kind.MODE, mode)

    def _begin(self, constraints: dict[str, np.ndarray]) -> None:
        if self._state in ACTIVE:
            self._hold("an episode begins")
        self._constraints = constraints
        self._drop_plans()
        self._steps.restart()
        self._event(Kind.EPISODE, "begins")

    def _become(self, state: State, reason: str = "") -> None:
        changed, self._state, self._reason = state is not self._state, state, reason
        if changed:
            self._event(Kind.STATE, f"{state}: {reason}" if reason else state)

    # ------------------------------------------------------------------ planning

    def _restart_planner(self) -> None:
        self._drop_plans()
        self.planner.restart()
        self._event(Kind.PLANNER, "is being loaded")

    def _lead_steps(self) -> int:
        if self.config.lead_steps is not None:
            return self.config.lead_steps
        needed_s = self._latencies.values() + self.config.command_s
        return lead(needed_s, self.config.lead_quantile, self.config.step_s)

    def _ask(self, observation: ArmObservation) -> None:
        """Tell the planner what has happened, and ask for a plan where one is wanted."""
        steps, from_rest = self._steps, self._mode is Mode.CONFIRM
        if not steps.untold or steps.opened is None:
            return
        wanted = self._state is State.RUNNING and steps.untold[-1].observation is not None
        if from_rest:  # and as it is seen at rest
            wanted = wanted and steps.began_s >= self._rest_s
        if wanted and observation.stamp_s > steps.began_s + self.config.step_s / 2:
            return  # what this step began with is old, and the next one begins soon
        ahead = 0 if from_rest else self._lead_steps()
        self.planner.ask(
            Request(
                steps=steps.untold,
                plan=wanted,
                committed=[steps.schedule.at(steps.now + h) for h in range(ahead)],
                frames=from_rest,
                constraints=self._constraints if steps.forget else None,
            )
        )
        steps.told()
        if wanted:
            self._plan_id, self._plans_asked = (
                f"plan-{self._plans_asked:05d}",
                self._plans_asked + 1,
            )
            self._asked = Asked(self._plan_id, steps.now, ahead, steps.opened, self._chapter)

    def _arrived(self, answer: Answer, observation: ArmObservation) -> None:
        asked, self._asked = self._asked, None
        if asked is None or answer.plan is None:
            return  # it was only told
        latency_s = _now_s(observation) - asked.observation.stamp_s
        self._counts.plans += 1
        self._latencies.add(latency_s)
        plan, stamp_s = answer.plan, asked.observation.stamp_s
        self.tell(
            Planned(
                time.time(), stamp_s, asked.plan_id, asked.step, asked.lead_steps,
                latency_s=latency_s, **vars(plan),
            )
        )  # fmt: skip
        if asked.chapter != self._chapter or self._state is not State.RUNNING:
            return  # things are no longer as they were
        if self._mode is Mode.CONFIRM:
            self._offer(asked, plan, observation)
            return
        step, first = join(
            self._steps.grid, asked.step + asked.lead_steps, self._ready_s(observation)
        )
        actions = plan.sequence[first : max(plan.trusted_steps, first + 1)]
        if len(actions):  # else all of it is past
            self._dispatch(asked.plan_id, actions, step, observation, first)

    def _ready_s(self, observation: ArmObservation) -> float:
        """From when on something new can be followed; never before the arm has braked."""
        soon_s = _now_s(observation) + self.config.command_s
        return max(soon_s, self._rest_s) if self._braking else soon_s

    def _dispatch(
        self,
        plan_id: str,
        actions: np.ndarray,
        step: int,
        observation: ArmObservation,
        first: int = 0,
    ) -> None:
        """Have a plan's actions from ``step`` on judged, and send what is let through."""
        shadow = self._mode is Mode.SHADOW
        outcome = self._judge(plan_id, actions, step, observation, first, preview=shadow)
        if not outcome.accepted:
            self._refuse(outcome)
            return
        self._refused = 0
        if not shadow:
            self._counts.sent += 1
            self._rest_s, self._braking = outcome.chunk.end_s, False
            self._steps.schedule.put(step, actions[: outcome.actions])

    def _judge(
        self,
        plan_id: str,
        actions: np.ndarray,
        step: int,
        observation: ArmObservation,
        first: int = 0,
        preview: bool = False,
    ) -> Outcome:
        # Waypoints lie where the curve's own knots are, so that the arm follows that same curve.
        waypoints = Grid(self._steps.grid.origin_s, self.config.waypoint_s)
        first_waypoint = waypoints.at(_now_s(observation))
        if self._braking:  # what is from before that is void
            first_waypoint = max(first_waypoint, waypoints.next(self._held_s))
        t0_s = waypoints.start_s(first_waypoint)
        start_s = self._steps.grid.start_s(step)
        return self._pilot.send(actions, start_s, t0_s, observation, plan_id, first, preview)

    def _refuse(self, outcome: Outcome) -> None:
        self._counts.rejections += 1
        self._refused += 1
        logger.warning("%s was refused: %s", outcome.chunk.plan_id, outcome.reason)
        if self._mode is Mode.SHADOW:
            return
        if self._refused >= self.config.max_rejections:
            self._latch(f"{self._refused} plans in a row were refused, at last: {outcome.reason}")
        else:
            self._brake()

    # ------------------------------------------------------------------ approval

    def _offer(self, asked: Asked, plan: PlanFacts, observation: ArmObservation) -> None:
        """Show the operator what of a plan would be let through now."""
        step = self._steps.grid.next(self._ready_s(observation))
        actions = plan.sequence[: max(plan.trusted_steps, 1)]
        outcome = self._judge(asked.plan_id, actions, step, observation, preview=True)
        if not outcome.accepted:
            self._refuse(outcome)
            return
        count = outcome.actions
        self._offered = Offered(asked, plan, count)
        self._event(Kind.OFFERED, "", asked.plan_id)
        self._become(State.OFFERING, f"{asked.plan_id} waits for approval")
        self.approvals.offer(
            Card(
                plan_id=asked.plan_id,
                value=plan.value,
                success=plan.success,
                trusted_steps=plan.trusted_steps,
                actions=actions[:count],
                step_s=self.config.step_s,
                duration_s=outcome.chunk.end_s - self._steps.grid.start_s(step),
                margins=outcome.decision.margins,
                planning_ms=plan.planning_ms,
                approval_s=self.config.approval_s,
                frames={camera: frames[: count + 1] for camera, frames in plan.frames.items()},
            )
        )

    def _heed_operator(self, offered: Offered, observation: ArmObservation) -> None:
        plan_id = offered.asked.plan_id
        verdict = self.approvals.verdict(plan_id)
        if verdict is None:
            return
        self._offered = None
        self._become(State.RUNNING)
        self._event(Kind(verdict), "", plan_id)
        if verdict is not Verdict.APPROVED:
            return
        moved = np.abs(observation.q - offered.asked.observation.q)[self._driven].max(initial=0.0)
        if moved > self.config.moved_rad:
            self._event(Kind.DECLINED, f"the arm has moved by {moved:.3f} rad since", plan_id)
            return
        step = self._steps.grid.next(self._ready_s(observation))
        self._dispatch(plan_id, offered.plan.sequence[: offered.actions], step, observation)

    # ------------------------------------------------------------------ telling

    def _age_s(self, observation: ArmObservation) -> float:
        """By now, of the newest observation."""
        return observation.age_s + time.monotonic() - self._observed_s

    def _request(self, do: Callable[[], None]) -> None:
        self._requests.put(do)
        self._wake.set()

    def _event(self, kind: Kind, message: str = "", plan_id: str = "") -> None:
        stamp_s = self._observation.stamp_s if self._observation is not None else math.nan
        self.tell(Event(time.time(), stamp_s, kind, str(message), plan_id))

    def tell(self, record: Record) -> None:
        for listener in list(self._listeners):
            try:
                listener(record)
            except Exception:  # who keeps or shows a run does not end it
                logger.exception("a listener failed; it is told nothing more")
                self._listeners.remove(listener)


def _is_finite(observation: ArmObservation) -> bool:
    arrays = [observation.q, observation.dq, *observation.arrays.values()]
    measured = all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f")
    return measured and math.isfinite(observation.stamp_s + observation.age_s)


def _now_s(observation: ArmObservation) -> float:
    """On the observation's clock."""
    return observation.stamp_s + observation.age_s
