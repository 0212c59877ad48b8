"""One fault each: it happens while the arm moves, and what was promised is looked for on the wire.

A scenario returns what it measured; a promise that was not kept is :class:`Broken`. After each, nothing
that was commanded or measured may have broken a limit.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from robowm.dispatch.bench.trials.rig import REST, Rig, require, until
from robowm.dispatch.bridge.lifecycle import LifecycleState
from robowm.dispatch.bridge.node import Bridge
from robowm.dispatch.record.records import Judged, Kind, Observed, Record
from robowm.dispatch.wire.faulty import WireFaultsConfig

Measured = dict[str, float]
Scenario = Callable[[Rig], Measured]

STARTS_S = 120.0  # in which an arm moves that is to move: a planner may have to be loaded
RUN_S = 3.0  # that a bad network is endured
DELAY_S = 0.15
FROZEN_S = 0.15  # in which an arm holds that is not seen any more
PLANNER_S = 0.5  # in which it is at rest without a planner
SETTLES_S = 0.3  # that an arm may go on moving after the end of a chunk
TOLERANCE_RAD = 0.1  # of the gate's tracking margin


def moving(rig: Rig) -> None:
    """Until the arm is well under way."""
    witness = rig.witness
    until(lambda: witness.told and witness.seen and witness.speed > 5 * REST, STARTS_S, "motion")


class Watched:
    """What a bridge saw while it moved.

    Attributes:
      errors: how far (rad) from where it was commanded the arm was, as the gate has it.
      ages_s: of the observations.
    """

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.ages_s: list[float] = []

    def __call__(self, record: Record) -> None:
        if isinstance(record, Judged) and "tracking" in record.decision.margins:
            self.errors.append((1 - record.decision.margins["tracking"]) * TOLERANCE_RAD)
        elif isinstance(record, Observed):
            self.ages_s.append(record.observation.age_s)

    def to_dict(self) -> Measured:
        errors, ages_s = np.array(self.errors), np.array(self.ages_s)
        require(len(errors) > 0 and len(ages_s) > 0, "nothing was judged")
        return {
            "tracking_rms_rad": float(np.sqrt(np.mean(errors**2))),
            "tracking_max_rad": float(errors.max()),
            "age_p50_s": float(np.quantile(ages_s, 0.5)),
            "age_p99_s": float(np.quantile(ages_s, 0.99)),
        }


def endured(rig: Rig, faults: WireFaultsConfig, latency_s: float = 0.0) -> Measured:
    """Move for a while over a bad network."""
    watched = Watched()
    with rig.bridge(faults=faults, latency_s=latency_s) as bridge:
        bridge.dispatcher.listen(watched)
        moving(rig)
        time.sleep(RUN_S)
        status = bridge.dispatcher.status()
        require(rig.witness.moved_after(rig.witness.told[0][0]) > 0.05, "the arm hardly moved")
        ended_s = time.monotonic()
        rig.call("stop")
    rig.witness.rest_after(ended_s, 2.0)
    return {**watched.to_dict(), "holds": status.holds, "rejections": status.rejections}


def no_fault(rig: Rig) -> Measured:
    return endured(rig, WireFaultsConfig())


def loss(rig: Rig) -> Measured:
    """A fifth of the commands is lost."""
    return endured(rig, WireFaultsConfig(drop=0.2))


def delay(rig: Rig) -> Measured:
    """Every command comes 150 ms late, and nobody knows."""
    return endured(rig, WireFaultsConfig(delay_s=DELAY_S))


def delay_known(rig: Rig) -> Measured:
    """Every command comes 150 ms late, and arm.latency_s says so."""
    return endured(rig, WireFaultsConfig(delay_s=DELAY_S), latency_s=DELAY_S)


def duplicates(rig: Rig) -> Measured:
    return endured(rig, WireFaultsConfig(duplicate=0.3))


def reordering(rig: Rig) -> Measured:
    return endured(rig, WireFaultsConfig(reorder=0.2))


def unseen(rig: Rig, kind: str, within_s: float, **also: float) -> Measured:
    """The driver says nothing that can be used for a second; then all is well again."""
    with rig.bridge() as bridge:
        moving(rig)
        wall_s = time.time()
        begin_s = rig.fault(**{kind: 1.0}, **also)
        held = until(lambda: rig.happened(Kind.HOLD, wall_s), 5.0, f"a hold after {kind}")
        hold_s = held.wall_s - wall_s
        until(lambda: rig.happened(Kind.RESUME, held.wall_s), 20.0, "going on again")
        moving(rig)
        require(bridge.state is LifecycleState.ACTIVE, "the bridge let go")
        require(hold_s <= within_s, f"it held after {hold_s:.3f} s, more than {within_s} s")
        require(time.monotonic() - begin_s > 0.9, "it went on before the fault had ended")
    return {"hold_s": hold_s}


def frozen_observations(rig: Rig) -> Measured:
    return unseen(rig, "freeze_s", FROZEN_S)


def nan_observations(rig: Rig) -> Measured:
    return unseen(rig, "nan_s", FROZEN_S)


def driver_killed(rig: Rig) -> Measured:
    """The driver publishes nothing and obeys nothing for a second."""
    return unseen(rig, "dead_s", FROZEN_S)


def clock_jump(rig: Rig) -> Measured:
    """The driver's clock is set back by ten seconds; the arm goes on or holds, and then goes on."""
    with rig.bridge() as bridge:
        moving(rig)
        jumped_s = rig.fault(clock_jump_s=-10.0)
        time.sleep(1.5)
        require(bridge.state is LifecycleState.ACTIVE, "the bridge let go")
        holds = bridge.dispatcher.status().holds
        until(lambda: rig.witness.told[-1][0] > jumped_s + 1.0, 20.0, "a command after the jump")
        moving(rig)
    rig.fault(clock_jump_s=10.0)
    return {"holds": holds}


def planner_killed(rig: Rig) -> Measured:
    """kill -9; the arm comes to rest by itself, and goes on when another planner was started."""
    with rig.bridge() as bridge:
        moving(rig)
        pid = bridge.planner.pid
        assert pid is not None
        begin_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        rest_s = rig.witness.rest_after(begin_s, 1.5)
        require(rest_s <= PLANNER_S, f"at rest after {rest_s:.3f} s, more than {PLANNER_S} s")
        require(rig.call("reset")[0], "no reset")
        moving(rig)
        require(bridge.planner.starts == 2, "no second planner")
    return {"rest_s": rest_s}


def emergency_stop(rig: Rig) -> Measured:
    """Latched: the arm comes to rest, and nothing moves it until it is reset."""
    with rig.bridge():
        moving(rig)
        begin_s = time.monotonic()
        require(rig.call("estop")[0], "no emergency stop")
        answered_s = time.monotonic() - begin_s
        rest_s = rig.witness.rest_after(begin_s, 1.0)
        still_s = time.monotonic()
        time.sleep(1.0)
        require(rig.witness.moved_after(still_s) < 2e-3, "the arm moved after it had been stopped")
        started = rig.call("start")
        require(not started[0], "it was started out of an emergency stop")
        require(rig.call("reset")[0], "no reset")
        moving(rig)
    return {"answered_s": answered_s, "rest_s": rest_s}


def limit_violation(rig: Rig) -> Measured:
    """The planner wants out of the workspace."""
    low, high = rig.limits.workspace_low, rig.limits.workspace_high
    narrow = dataclasses.replace(
        rig.limits, workspace_low=(low[0], -0.15, low[2]), workspace_high=(high[0], 0.15, high[2])
    )
    with rig.bridge("away", limits=narrow) as bridge:
        blocked = _blocked(rig, bridge, "workspace")
    rig.check_safe(narrow)
    return blocked


def collision_course(rig: Rig) -> Measured:
    """The arm is told into the table, and the workspace does not forbid it."""
    deep = dataclasses.replace(
        rig.limits, workspace_low=(-2.0, -2.0, -2.0), workspace_high=(2.0, 2.0, 2.0)
    )
    with rig.bridge(limits=deep, falls=True) as bridge:
        blocked = _blocked(rig, bridge, "brings together")
    rig.check_safe(deep)
    return blocked


def _blocked(rig: Rig, bridge: Bridge, why: str) -> Measured:
    """Plans are refused for that reason until the arm is held for good."""
    dispatcher = bridge.dispatcher
    until(lambda: dispatcher.status().rejections >= 5, 30.0, "a refusal")
    said = until(lambda: dispatcher.status().reason, 20.0, "a reason")
    require(why in said, f"it was refused for another reason: {said}")
    begin_s = time.monotonic()
    rig.witness.rest_after(begin_s, 1.0)
    return {"rejections": dispatcher.status().rejections}


def shadow(rig: Rig) -> Measured:
    """Nothing leaves, whatever is planned."""
    with rig.bridge(mode="shadow") as bridge:
        dispatcher = bridge.dispatcher
        until(lambda: dispatcher.status().plans >= 10, STARTS_S, "plans")
        plans = dispatcher.status().plans
    require(not rig.witness.told, f"{len(rig.witness.told)} commands were on the wire")
    return {"plans": plans, "commands": 0}


def confirm(rig: Rig) -> Measured:
    """Nothing leaves without an approval, nor after one has expired; one approval is one command."""
    with offering(rig, approval_s=0.5) as (_, first):
        time.sleep(1.0)  # it expires, and others are offered and expire
        rig.approve(first)
        time.sleep(0.5)
        require(not rig.witness.told, "something was sent that nobody approved in time")
    with offering(rig, approval_s=20.0) as (_bridge, offered):
        require(not rig.witness.told, "something was sent that nobody approved")
        rig.approve("plan-99999")
        time.sleep(0.3)
        require(not rig.witness.told, "another plan's approval was taken for this one's")
        rig.approve(offered)
        until(lambda: rig.witness.told, 10.0, "what was approved")
        time.sleep(1.0)
        require(len(rig.witness.told) == 1, "more was sent than was approved")
        commands = len(rig.witness.told)
    return {"commands": commands}


@contextmanager
def offering(rig: Rig, approval_s: float) -> Iterator[tuple[Bridge, str]]:
    """A bridge, and the plan that it offers; what it sends as it ends is not counted."""
    with rig.bridge(mode="confirm", approval_s=approval_s) as bridge:
        card = until(lambda: bridge.approvals.pending, STARTS_S, "an offer")
        yield bridge, card.plan_id
    rig.witness.clear()


def bridge_killed(rig: Rig) -> Measured:
    """kill -9; the arm follows its last chunk to its end, at rest, and another bridge drives it on."""
    process = rig.other_bridge()
    try:
        moving(rig)
        begin_s = time.monotonic()
        process.kill()
        process.wait(20)
        rest_s = rig.witness.rest_after(begin_s, 2.5)
        told_s, last = rig.witness.told[-1]
        require(told_s < begin_s + 0.1, "something was sent after the bridge had been killed")
        left_s = max(told_s + float(last.time_s[-1]) - begin_s, 0.0)
        require(
            rest_s <= left_s + SETTLES_S,
            f"at rest after {rest_s:.3f} s, and its last chunk ended after {left_s:.3f} s",
        )
    finally:
        process.kill()
    with rig.bridge():
        moving(rig)
    return {"rest_s": rest_s, "chunk_left_s": left_s}


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        no_fault, loss, delay, delay_known, duplicates, reordering, frozen_observations,
        nan_observations, driver_killed, clock_jump, planner_killed, bridge_killed, limit_violation,
        collision_course, emergency_stop, shadow, confirm,
    )
}  # fmt: skip
OWN_LIMITS = {limit_violation, collision_course}  # which look for themselves


def run(rig: Rig, name: str, seed: int) -> Measured:
    """One trial in a scene of its own; raises Broken."""
    rig.lay_out(seed)
    scenario = SCENARIOS[name]
    measured = scenario(rig)
    if scenario not in OWN_LIMITS:
        rig.check_safe()
    return measured
