"""The control loop in real time, over a toy arm: what it does, and what it does when things go wrong."""

import time

import numpy as np
import pytest

from robowm.dispatch.arm import ArmState, Receipt
from robowm.dispatch.online.approvals import Approvals
from robowm.dispatch.online.dispatch_config import DispatchConfig
from robowm.dispatch.online.status import Mode, State
from robowm.dispatch.record.records import Event, Executed, Judged, Kind, Observed, Planned, Sent
from robowm.errors import UserError
from tests.dispatch import toy
from tests.dispatch.live import LiveArm, dispatching, until
from tests.evaluation.toys import PointEnv


def of(kind, records):
    return [record for record in list(records) if isinstance(record, kind)]


def events(dispatcher, kind):
    return [event for event in of(Event, dispatcher.records) if event.kind is kind]


def at_goal(arm):
    return abs(arm.q[0] - PointEnv.goal_m) < 0.005


def is_moving(arm):
    return lambda: arm.speed > 0.05


# ---------------------------------------------------------------------- going well


def test_the_arm_goes_where_it_is_planned_to_go():
    arm = LiveArm()
    with dispatching(arm=arm) as dispatcher:
        until(lambda: at_goal(arm) and arm.speed < 1e-3)
        status = dispatcher.status()
    assert status.mode is Mode.AUTO and status.state is State.RUNNING
    assert status.sent > 3 and status.rejections == 0 and status.lead_steps >= 1
    assert np.isfinite(status.latency_p99_s) and status.observation_age_s < 5
    assert all(not chunk.dq[-1].any() for chunk in arm.sent)  # each is a dead man's handle


def test_the_agent_is_told_what_was_done():
    """The actions that it is told bring the arm from where each step began to where it ended."""
    arm = LiveArm()
    with dispatching(arm=arm) as dispatcher:
        until(lambda: at_goal(arm))
        records = list(dispatcher.records)
    seen = {r.step: r.observation for r in of(Observed, records) if r.step is not None}
    done = {r.step: r for r in of(Executed, records)}
    assert sorted(done) == list(range(len(done)))
    moved = sum(toy.STEP_M * done[k].action[0] for k in range(max(seen)) if k in done)
    assert moved == pytest.approx(seen[max(seen)].q[0] - seen[0].q[0], abs=0.01)
    assert moved > 0.15


def test_speed_and_place_never_jump():
    arm = LiveArm()
    track = []
    with dispatching(arm=arm):
        while not at_goal(arm):
            track.append((arm.now_s, arm.q[0]))
            time.sleep(0.002)
    time_s, x = np.array(track).T
    speed = np.diff(x) / np.diff(time_s)
    assert speed.max() < 0.3  # 0.2 m/s from step to step, a third more where it sets out


def test_a_planner_that_is_slower_than_a_step_is_planned_ahead_for():
    arm = LiveArm()
    with dispatching(toy.going_to_the_goal, 0.25, arm=arm) as dispatcher:
        until(lambda: at_goal(arm) and arm.speed < 1e-3)
        status = dispatcher.status()
        places = [record.observation.q[0] for record in of(Observed, dispatcher.records)]
    assert status.deadline_misses > 0 and status.lead_steps >= 3
    assert max(places) < PointEnv.goal_m + 0.005  # it did not plan from where it no longer was
    first, *_, last = of(Planned, dispatcher.records)
    assert first.lead_steps == 1 and last.lead_steps >= 3
    assert last.latency_s >= 0.25


def test_steps_that_a_late_plan_was_for_are_skipped():
    with dispatching(toy.going_to_the_goal, 0.25, lead_steps=1) as dispatcher:
        until(lambda: dispatcher.status().sent >= 3)
    assert all(judged.first >= 1 for judged in of(Judged, dispatcher.records))


def test_what_is_recorded_belongs_together():
    with dispatching() as dispatcher:
        until(lambda: dispatcher.status().sent >= 3)
    records = dispatcher.records
    planned = {record.plan_id for record in of(Planned, records)}
    for sent in of(Sent, records):
        assert sent.chunk.plan_id in planned and sent.receipt.accepted
    assert [event.message for event in events(dispatcher, Kind.MODE)] == ["auto"]
    assert events(dispatcher, Kind.STATE)[0].message == "running"


def test_in_shadow_nothing_leaves():
    arm = LiveArm()
    with dispatching(arm=arm, mode="shadow") as dispatcher:
        until(lambda: dispatcher.status().plans >= 3)
        until(lambda: of(Judged, dispatcher.records))
        arm.frozen = True
        until(lambda: dispatcher.status().state is State.HOLDING)
    assert not arm.sent and not arm.held and arm.state is ArmState.READY
    assert all(judged.preview for judged in of(Judged, dispatcher.records))
    assert not of(Sent, dispatcher.records)


# ---------------------------------------------------------------------- watching


@pytest.mark.parametrize("trouble", ["frozen", "blind"])
def test_without_observations_it_holds_and_goes_on_when_they_are_back(trouble):
    arm = LiveArm()
    with dispatching(toy.going_astray, (0.1, 0.0, 1.0), arm=arm) as dispatcher:
        until(lambda: arm.sent)
        setattr(arm, trouble, True)
        until(lambda: dispatcher.status().state is State.HOLDING)
        assert "old" in dispatcher.status().reason
        until(lambda: arm.speed == 0)
        setattr(arm, trouble, False)
        sent = len(arm.sent)
        until(lambda: dispatcher.status().state is State.RUNNING and len(arm.sent) > sent)
    assert events(dispatcher, Kind.HOLD) and len(events(dispatcher, Kind.RESUME)) >= 2


def test_what_is_refused_over_and_over_ends_in_a_hold_until_it_is_reset():
    arm = LiveArm(workspace_high=(0.06, 1.0, 1.0))
    with dispatching(toy.going_astray, arm=arm, max_rejections=3) as dispatcher:
        until(lambda: "in a row" in dispatcher.status().reason)
        assert "workspace" in dispatcher.status().reason
        assert arm.q[0] < 0.06 and arm.state is ArmState.HOLDING
        rejections = dispatcher.status().rejections
        time.sleep(0.3)
        assert dispatcher.status().rejections == rejections  # it does not go on by itself
        dispatcher.reset()
        until(lambda: dispatcher.status().rejections > rejections)


def test_a_plan_that_is_refused_at_its_end_is_followed_at_its_beginning():
    arm = LiveArm(workspace_high=(0.085, 1.0, 1.0))
    with dispatching(toy.going_astray, (1.0, 0.0, 1.0), arm=arm) as dispatcher:
        until(lambda: dispatcher.status().rejections)
    assert min(judged.actions for judged in of(Judged, dispatcher.records)) == 1
    assert 0.02 < arm.q[0] < 0.085


def test_an_arm_that_is_lost_is_not_commanded():
    arm = LiveArm()
    with dispatching(toy.going_astray, (0.1, 0.0, 1.0), arm=arm) as dispatcher:
        until(lambda: arm.sent)
        arm.state = ArmState.DISCONNECTED
        until(lambda: dispatcher.status().state is State.HOLDING)
        assert "not connected" in dispatcher.status().reason


def test_a_clock_that_is_set_back_begins_anew():
    arm = LiveArm()
    with dispatching(toy.going_astray, (0.1, 0.0, 1.0), arm=arm) as dispatcher:
        until(lambda: arm.now_s > 1.5 and arm.sent)
        arm._path = type(arm._path).rest(0.0, arm.q)
        arm._begin_s = time.monotonic()
        until(lambda: dispatcher.status().episode >= 1)
        sent = len(arm.sent)
        until(lambda: len(arm.sent) > sent)
    assert any("clock" in event.message for event in events(dispatcher, Kind.HOLD))


# ---------------------------------------------------------------------- emergency stop


def test_an_emergency_stop_acts_at_once_and_stays():
    arm = LiveArm()
    with dispatching(toy.going_astray, (1.0, 0.0, 1.0), arm=arm) as dispatcher:
        until(is_moving(arm))
        begin = time.monotonic()
        dispatcher.estop()
        assert arm.state is ArmState.STOPPED
        took_s = time.monotonic() - begin
        until(lambda: dispatcher.status().state is State.STOPPED)
        until(lambda: arm.speed == 0)
        sent, place = len(arm.sent), arm.q[0]
        time.sleep(0.3)
        assert len(arm.sent) == sent and arm.q[0] == place
        dispatcher.reset()
        until(lambda: len(arm.sent) > sent)
    assert took_s < 0.5  # a few ms where the machine is free
    assert events(dispatcher, Kind.ESTOP) and events(dispatcher, Kind.RESET)


def test_an_emergency_stop_works_while_a_chunk_is_stuck_on_its_way(monkeypatch):
    arm = LiveArm()
    with dispatching(arm=arm) as dispatcher:
        until(lambda: arm.sent)
        with dispatcher._commanding:
            dispatcher.estop()
            assert arm.state is ArmState.STOPPED


def test_an_arm_that_somebody_else_resets_waits_for_the_operator():
    arm = LiveArm()
    with dispatching(toy.going_astray, (0.1, 0.0, 1.0), arm=arm) as dispatcher:
        until(lambda: arm.sent)
        dispatcher.estop()
        until(lambda: dispatcher.status().state is State.STOPPED)
        arm.reset()
        until(lambda: dispatcher.status().state is State.HOLDING)
        sent = len(arm.sent)
        time.sleep(0.3)
        assert len(arm.sent) == sent
        dispatcher.reset()
        until(lambda: len(arm.sent) > sent)


def test_a_hold_waits_for_a_reset():
    arm = LiveArm()
    with dispatching(toy.going_astray, (0.1, 0.0, 1.0), arm=arm) as dispatcher:
        until(lambda: arm.sent)
        dispatcher.hold()
        until(lambda: dispatcher.status().state is State.HOLDING)
        sent = len(arm.sent)
        time.sleep(0.3)
        assert len(arm.sent) == sent
        dispatcher.reset()
        until(lambda: len(arm.sent) > sent)


# ---------------------------------------------------------------------- approval


def confirming(**settings):
    arm, approvals = LiveArm(), Approvals()
    return dispatching(arm=arm, approvals=approvals, mode="confirm", **settings)


def test_nothing_moves_until_that_very_plan_is_approved():
    with confirming() as dispatcher:
        arm, approvals = dispatcher.arm, dispatcher.approvals
        card = until(lambda: approvals.pending)
        assert dispatcher.status().state is State.OFFERING
        assert dispatcher.status().offered == card.plan_id
        assert card.frames["front"].shape == (len(card.actions) + 1, 16, 16, 3)
        assert card.success == pytest.approx(0.9) and 0 < card.margins["workspace"] <= 1
        done, why = approvals.approve("plan-99999")
        assert not done and card.plan_id in why
        time.sleep(0.2)
        assert not arm.sent
        assert approvals.approve(card.plan_id)[0]
        until(lambda: arm.sent)
        assert arm.sent[0].plan_id == card.plan_id
        second = until(lambda: approvals.pending)
        assert second.plan_id != card.plan_id and len(arm.sent) == 1
        assert not approvals.approve(card.plan_id)[0]  # once
        # The whole plan was done before the next was made.
        assert arm.q[0] == pytest.approx(toy.STEP_M * card.actions[:, 0].sum(), abs=0.005)


def test_plans_that_are_approved_one_after_the_other_reach_the_goal():
    with confirming() as dispatcher:
        while not at_goal(dispatcher.arm):
            dispatcher.approvals.approve(until(lambda: dispatcher.approvals.pending).plan_id)
            until(lambda: dispatcher.arm.sent)
    assert 2 <= len(dispatcher.arm.sent) <= 4


def test_an_approval_that_does_not_come_in_time_is_none():
    with confirming(approval_s=0.2) as dispatcher:
        card = until(lambda: dispatcher.approvals.pending)
        until(lambda: events(dispatcher, Kind.EXPIRED))
        assert not dispatcher.approvals.approve(card.plan_id)[0]
        until(lambda: dispatcher.status().plans >= 2)  # another is offered
    assert not dispatcher.arm.sent


def test_a_plan_that_is_declined_is_not_done():
    with confirming() as dispatcher:
        card = until(lambda: dispatcher.approvals.pending)
        assert dispatcher.approvals.reject(card.plan_id)[0]
        until(lambda: events(dispatcher, Kind.DECLINED))
        other = until(lambda: dispatcher.approvals.pending)
        assert other.plan_id != card.plan_id
    assert not dispatcher.arm.sent


def test_a_plan_for_where_the_arm_no_longer_is_is_not_done():
    with confirming() as dispatcher:
        arm = dispatcher.arm
        card = until(lambda: dispatcher.approvals.pending)
        arm._path = type(arm._path).rest(0.0, arm.q + [0.05, 0, 0])  # somebody pushes it
        dispatcher.approvals.approve(card.plan_id)
        until(lambda: events(dispatcher, Kind.DECLINED))
    assert not arm.sent


def test_an_emergency_stop_takes_back_what_was_offered():
    with confirming() as dispatcher:
        card = until(lambda: dispatcher.approvals.pending)
        dispatcher.estop()
        until(lambda: dispatcher.status().state is State.STOPPED)
        assert not dispatcher.approvals.approve(card.plan_id)[0]
    assert not dispatcher.arm.sent


def test_another_mode_begins_at_rest():
    with confirming() as dispatcher:
        until(lambda: dispatcher.approvals.pending)
        dispatcher.set_mode(Mode.AUTO)
        until(lambda: dispatcher.arm.sent)
        assert dispatcher.approvals.pending is None and dispatcher.status().mode is Mode.AUTO


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "value"),
    [("mode", "automatic"), ("step_s", 0), ("waypoint_s", 0.03), ("waypoint_s", 0.1), ("poll_hz", 10),
     ("lead_steps", 0), ("approval_s", 0), ("max_rejections", 0)],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        DispatchConfig(**{name: value})


def test_a_plan_has_to_be_approved_unless_something_else_is_said():
    assert DispatchConfig().mode == "confirm"


def test_a_chunk_that_the_arm_refuses_leaves_no_trace():
    """What it did not take it is not expected to have done."""
    arm = LiveArm()
    take, refused = arm.send, []

    def send(chunk):
        if len(refused) < 2:
            refused.append(chunk)
            return Receipt(False, "the driver is busy")
        return take(chunk)

    arm.send = send
    with dispatching(arm=arm) as dispatcher:
        until(lambda: at_goal(arm))
    assert len(refused) == 2 and dispatcher.status().rejections == 2
