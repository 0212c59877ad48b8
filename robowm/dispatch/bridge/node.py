"""The bridge: an arm, its gate, a planner and an operator joined into one node, whatever the middleware.

It knows no middleware: topics and services are those of a :class:`~robowm.dispatch.wire.protocol.Link`,
states those of a managed node (:mod:`robowm.dispatch.bridge.lifecycle`). Below the node's own name it has

===============  ===================  ==============================================================
``~/plan``       Text, latched        the newest plan as JSON: id, predicted success, margins, expiry
``~/imagined``   Image, latched       what a plan that is offered imagines, side by side
``~/status``     Text, 2 Hz           lifecycle, dispatcher, arm and diagnostics as JSON
``~/approve_id`` Text                 approves the plan of exactly that id
``~/approve``    Trigger              approves the plan that was shown last
``~/reject``     Trigger              declines it
``~/estop``      Trigger              stops the arm now; latched
``~/reset``      Trigger              leaves the emergency stop, a hold, or the loss of the planner
``~/start``      Trigger              configures and activates
``~/stop``       Trigger              deactivates: the arm holds
===============  ===================  ==============================================================

and it hears ``robowm/constraints`` (Text, latched; JSON), what is forbidden from the next activation on.

Diagnostics are part of the status, each with the levels of ROS's diagnostic_msgs: that package is not
among those that the bridge needs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from robowm.dispatch.arm import Arm, ArmState
from robowm.dispatch.bridge.lifecycle import Lifecycle, LifecycleState, Machine
from robowm.dispatch.online.approvals import Approvals, Card
from robowm.dispatch.online.dispatch_config import DispatchConfig
from robowm.dispatch.online.dispatcher import Dispatcher
from robowm.dispatch.online.planner import PlannerProcess, PlannerState
from robowm.dispatch.online.status import Mode, State
from robowm.dispatch.pilot import Commander
from robowm.dispatch.record.recording import Recorder
from robowm.dispatch.record.records import (
    Event,
    Frames,
    Judged,
    Kind,
    Listener,
    Planned,
    Record,
    plain,
)  # fmt: skip
from robowm.dispatch.safety import SafetyGate
from robowm.dispatch.wire.messages import Image, Text
from robowm.dispatch.wire.protocol import Answer, Link, QoS
from robowm.errors import UserError

logger = logging.getLogger(__name__)

STATUS_S = 0.5
POLL_S = 0.02
END_S = 5.0  # that the dispatcher is given to brake and end
OK, WARN, ERROR = 0, 1, 2  # of diagnostic_msgs/DiagnosticStatus


@dataclasses.dataclass
class BridgeConfig:
    """Attributes:
    load_s: in which the model must have been loaded.
    fresh_s: in which an observation must have come before the bridge becomes active.
    rest_s: for which the arm must have been at rest before it.
    """

    load_s: float = 120.0
    fresh_s: float = 5.0
    rest_s: float = 0.2

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise UserError(f"bridge.{name} is {value}, expected a time above 0.")


class Bridge:
    """A managed node (:class:`robowm.dispatch.bridge.lifecycle.Managed`) on a link that is open.

    Args:
      planner: not started yet.
      switches: [A] as in ``ActionSpec.switch``.
      listeners: told of each record.
      record: makes the recorder of an activation; None keeps nothing.
      machine: what changes its state; None is one of its own.
    """

    def __init__(
        self,
        link: Link,
        arm: Arm,
        planner: PlannerProcess,
        gate: SafetyGate,
        commander: Commander,
        switches: Sequence[bool],
        dispatch: DispatchConfig | None = None,
        config: BridgeConfig | None = None,
        listeners: Iterable[Listener] = (),
        record: Callable[[], Recorder] | None = None,
        machine: Machine | None = None,
    ):
        self.link, self.arm, self.planner, self.gate = link, arm, planner, gate
        self._dispatch, self.config = dispatch or DispatchConfig(), config or BridgeConfig()
        self.approvals = Approvals()
        self.approvals.viewers.append(self._offered)
        self.dispatcher = Dispatcher(
            arm,
            planner,
            gate,
            commander,
            switches,
            self._dispatch,
            self.approvals,
            [self._heard, *listeners],
        )
        self._record = record
        self.machine: Machine = machine or Lifecycle(self, self._entered)
        self.constraints: Mapping[str, np.ndarray] = {}
        self._why = ""  # the last that is to be said of the state
        self._stopped = False  # by an emergency stop here, whatever the arm has been through since
        self._ends, self._ended = threading.Event(), threading.Event()
        self._run: threading.Thread | None = None
        self._recorder: Recorder | None = None
        self._planned: Planned | None = None
        self._plan = link.publisher("~/plan", Text, QoS.LATCHED)
        self._imagined = link.publisher("~/imagined", Image, QoS.LATCHED)
        self._status = link.publisher("~/status", Text, QoS.STATUS)
        link.subscribe("~/approve_id", Text, self._approve_id, QoS.STATUS)
        link.subscribe("robowm/constraints", Text, self._forbid, QoS.LATCHED)
        for name, answer in (
            ("approve", self._approve),
            ("reject", self._reject),
            ("estop", self._estop),
            ("reset", self._reset),
            ("start", self.start),
            ("stop", self.stop),
        ):
            link.serve(f"~/{name}", answer)
        self._ticker = threading.Thread(target=self._tick, name="bridge status", daemon=True)
        self._ticker.start()

    # ------------------------------------------------------------------ what a person or program asks

    @property
    def state(self) -> LifecycleState:
        return self.machine.state

    def start(self) -> Answer:
        """Configure, if that is still to be done, and activate."""
        if self.state is LifecycleState.UNCONFIGURED:
            answer = self._change("configure")
            if not answer[0]:
                return answer
        return self._change("activate")

    def stop(self) -> Answer:
        """The arm holds, and nothing is sent any more."""
        return self._change("deactivate")

    def note(self, kind: Kind, message: str) -> None:
        """Something that listeners and the recording of this activation are to be told."""
        stamp_s = self.dispatcher.status().stamp_s
        self.dispatcher.tell(Event(time.time(), stamp_s, kind, message))

    def close(self) -> None:
        """Shut down, whatever the state; the link is its owner's to close."""
        ends_s = time.monotonic() + END_S
        while self.state is not LifecycleState.FINALIZED and not self._change("shutdown")[0]:
            if time.monotonic() > ends_s:  # stuck in another transition
                self.failed()
                break
            time.sleep(POLL_S)
        self._ended.set()
        self._ticker.join()

    def status(self) -> dict[str, Any]:
        """What ``~/status`` says."""
        doing = self.dispatcher.status()
        said = {
            "wall_s": time.time(),
            "lifecycle": self.state,
            "reason": self._why,
            "arm": self.arm.state,
            "mode": self._dispatch.mode,
            "dispatch": doing,
            "diagnostics": [
                {"name": name, "level": level, "message": message}
                for name, level, message in self._diagnose(doing)
            ],
        }
        return plain(said)  # type: ignore[no-any-return]

    def _change(self, transition: str) -> Answer:
        done, why = self.machine.change(transition)
        if why:
            self._why = why
            (logger.info if done else logger.warning)("%s", why)
        return done, why or f"the bridge is {self.state}"

    def _approve(self) -> Answer:
        card = self.approvals.pending
        return self.approvals.approve(card.plan_id) if card else (False, "no plan is offered.")

    def _reject(self) -> Answer:
        card = self.approvals.pending
        return self.approvals.reject(card.plan_id) if card else (False, "no plan is offered.")

    def _approve_id(self, text: Text) -> None:
        done, why = self.approvals.approve(text.data.strip())
        (logger.info if done else logger.warning)("%s", why)

    def _forbid(self, text: Text) -> None:
        self.constraints = {name: np.array(v) for name, v in json.loads(text.data).items()}

    def _estop(self) -> Answer:
        self._stopped = True
        self.dispatcher.estop()
        return True, "the emergency stop is latched: ~/reset leaves it"

    def _reset(self) -> Answer:
        self._stopped = False
        if self.state is not LifecycleState.ACTIVE:
            self.arm.reset()
        else:
            if self.planner.state is PlannerState.DEAD:
                self.dispatcher.restart_planner()
            self.dispatcher.reset()
        return True, "reset"

    # ------------------------------------------------------------------ transitions

    def configure(self) -> None:
        """Load the model, while the arm is found and its joints are matched by name."""
        self.planner.start()
        try:
            self.arm.connect()
            self._await_model()
        except BaseException:
            self.cleanup()
            raise

    def activate(self) -> None:
        """Begin to plan and, as the mode has it, to send; refused where that would not be safe now."""
        if self.planner.state is PlannerState.DEAD:
            self.planner.restart()
            self._await_model()
        if why := self._unsafe():
            raise UserError(f"not activated: {why}.")
        self._ends.clear()
        self._recorder = self._record() if self._record is not None else None
        self.dispatcher.resume()
        self.dispatcher.begin(self.constraints)
        self._run = threading.Thread(target=self._drive, name="dispatcher", daemon=True)
        self._run.start()

    def deactivate(self) -> None:
        """The arm brakes and holds."""
        self._ends.set()
        run, self._run = self._run, None
        if run is not None and run is not threading.current_thread():
            run.join(END_S)
            if run.is_alive():  # stuck in the arm's driver: whatever it does next is refused
                self.arm.estop()
                raise RuntimeError(f"it did not end within {END_S} s, and the arm was stopped")
        self.approvals.withdraw()
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()

    def cleanup(self) -> None:
        self.planner.close()
        self.arm.close()

    def shutdown(self) -> None:
        self.deactivate()
        self.cleanup()

    def failed(self) -> None:
        with contextlib.suppress(Exception):
            self.arm.hold()
        for end in (self.deactivate, self.cleanup):
            try:
                end()
            except Exception:
                logger.exception("while letting go")

    def _await_model(self) -> None:
        deadline = time.monotonic() + self.config.load_s
        while self.planner.state in (PlannerState.STARTING, PlannerState.BUSY):
            if time.monotonic() > deadline:
                raise UserError(f"the model was not loaded within {self.config.load_s:.0f} s.")
            self.planner.answer()
            time.sleep(POLL_S)
        if self.planner.state is not PlannerState.READY:
            raise UserError(f"the model cannot be loaded: {self.planner.error}")

    def _unsafe(self) -> str:
        """Why nothing may be begun now, or nothing. Takes a moment: a look does not tell rest from turning."""
        if self._stopped or self.arm.state is ArmState.STOPPED:
            return "the emergency stop is latched; reset it first"
        fresh_by = time.monotonic() + self.config.fresh_s
        while why := self._stale():
            if time.monotonic() > fresh_by:
                return why
            time.sleep(POLL_S)
        if self._dispatch.mode == Mode.SHADOW:
            return ""  # nothing is sent: somebody else may be moving it
        watched_until = time.monotonic() + self.config.rest_s
        while time.monotonic() < watched_until:
            if why := self._stale() or self._moving():
                return why
            time.sleep(POLL_S)
        return ""

    def _stale(self) -> str:
        try:
            return "; ".join(self.gate.watch(self.arm.observe()))
        except UserError as error:  # nothing has come yet
            return str(error).rstrip(".")

    def _moving(self) -> str:
        speed = np.abs(self.arm.observe().dq)
        speed[~np.isfinite(np.array(self.arm.spec.velocity))] = 0.0  # a gripper may be closing
        joint = int(np.argmax(speed))
        if speed[joint] <= self._dispatch.still_rad_s:  # which no NaN is
            return ""
        name = self.arm.spec.joints[joint]
        return f"the arm is not at rest, {name} moves at {speed[joint]:.3f} rad/s"

    # ------------------------------------------------------------------ while it is active

    def _drive(self) -> None:
        try:
            self.dispatcher.run(self._ends.is_set)
        except Exception as error:
            logger.exception("the dispatcher failed")
            self._why = f"the dispatcher failed: {error}"
            with contextlib.suppress(Exception):
                self.arm.hold()

    def _tick(self) -> None:
        """Twice a second: say how things are, and let go where the dispatcher has ended by itself."""
        while not self._ended.wait(STATUS_S):
            run = self._run
            if run is not None and not run.is_alive() and not self._ends.is_set():
                why = self._why
                self._change("deactivate")
                self._why = why
            self._status(Text(json.dumps(self.status())))

    def _entered(self, state: LifecycleState, why: str) -> None:
        self._why = why
        logger.info("%s: %s", state, why)

    def _heard(self, record: Record) -> None:
        """Keep it; and tell of plans that nobody is asked about, as those that are offered have a card."""
        recorder = self._recorder
        if recorder is not None:
            recorder(record)
        if isinstance(record, Planned):
            self._planned = record
        planned = self._planned
        if (
            isinstance(record, Judged)
            and planned is not None
            and self._dispatch.mode != Mode.CONFIRM
        ):
            if record.chunk.plan_id != planned.plan_id:
                return
            said = {
                "plan_id": planned.plan_id,
                "success": planned.success,
                "value": planned.value,
                "trusted_steps": planned.trusted_steps,
                "actions": record.actions,
                "latency_s": planned.latency_s,
                "margins": record.decision.margins,
                "reasons": record.decision.reasons,
                "sent": record.decision.accepted and not record.preview,
            }
            self._plan(Text(json.dumps(plain(said))))

    def _offered(self, card: Card) -> None:
        now_s = time.time()
        said = card.to_dict() | {"offered_wall_s": now_s, "expires_wall_s": now_s + card.approval_s}
        self._plan(Text(json.dumps(plain(said))))
        if card.frames:
            self._imagined(Image(now_s, side_by_side(card.frames), card.plan_id))

    def _diagnose(self, doing: Any) -> Iterable[tuple[str, int, str]]:
        """Name, level and words of each part."""
        arm = self.arm.state
        level = ERROR if arm in (ArmState.STOPPED, ArmState.DISCONNECTED) else OK
        yield "arm", level, str(arm)
        planner = self.planner.state
        dead = planner is PlannerState.DEAD
        yield "planner", ERROR if dead else OK, self.planner.error if dead else str(planner)
        if self.state is not LifecycleState.ACTIVE:
            return
        limit_s = self.gate.config.stale_periods / self.arm.spec.rate_hz
        stale = not doing.observation_age_s <= limit_s
        yield "observations", ERROR if stale else OK, f"{doing.observation_age_s:.3f} s old"
        amiss = doing.state in (State.HOLDING, State.STOPPED)
        yield "dispatcher", WARN if amiss else OK, f"{doing.state} {doing.reason}".strip()


def side_by_side(frames: Mapping[str, Frames]) -> np.ndarray:
    """One picture [cameras * H, steps * W, 3], a row for each camera, of frames [steps, H, W, 3]."""
    rows = [np.concatenate(list(seen), axis=1) for seen in frames.values()]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.ascontiguousarray(np.concatenate(padded))
