"""The bridge over a link in this process: what it tells, what it is told, and when it moves the arm."""

import contextlib
import json

import numpy as np
import pytest

from robowm.dispatch.arm import ArmState
from robowm.dispatch.bridge.lifecycle import LifecycleState
from robowm.dispatch.bridge.node import Bridge, BridgeConfig, side_by_side
from robowm.dispatch.online.dispatch_config import DispatchConfig
from robowm.dispatch.safety import SafetyGate
from robowm.dispatch.wire.local import Bus, LocalLink
from robowm.dispatch.wire.messages import Image, Text
from robowm.dispatch.wire.protocol import QoS
from robowm.errors import UserError
from tests.dispatch import toy
from tests.dispatch.live import PATIENT, LiveArm, ThreadPlanner, until
from tests.dispatch.test_arms import towards
from tests.evaluation.toys import PointEnv


class Operator:
    """Hears what a bridge says, on a link of its own, and asks its services."""

    def __init__(self, bus):
        self.link = LocalLink("operator", bus=bus)
        self.link.open()
        self.said = {"plan": [], "status": [], "imagined": []}
        for topic, kind, qos in (
            ("plan", Text, QoS.LATCHED),
            ("status", Text, QoS.STATUS),
            ("imagined", Image, QoS.LATCHED),
        ):
            self.link.subscribe(f"/robowm_bridge/{topic}", kind, self.said[topic].append, qos)
        self._approve = self.link.publisher("/robowm_bridge/approve_id", Text, QoS.STATUS)

    def call(self, name):
        return self.link.call(f"/robowm_bridge/{name}", 30.0)

    def approve(self, plan_id):
        self._approve(Text(plan_id))

    def plans(self):
        return [json.loads(text.data) for text in list(self.said["plan"])]

    def status(self):
        """The next one that is told."""
        seen = len(self.said["status"])
        until(lambda: len(self.said["status"]) > seen)
        return json.loads(self.said["status"][-1].data)


@contextlib.contextmanager
def bridging(arm=None, make=toy.going_to_the_goal, fresh_s=5.0, **settings):
    """A bridge over a bus of its own, and who speaks with it."""
    arm, bus = arm or LiveArm(), Bus()
    settings = {"planner_timeout_s": 20.0, "approval_s": 30.0, **settings}
    link = LocalLink("robowm_bridge", bus=bus)
    link.open()
    bridge = Bridge(
        link,
        arm,
        ThreadPlanner(make),
        SafetyGate(PATIENT, arm.spec, toy.PointBody()),
        toy.PointCommander(),
        (False, False, True),
        DispatchConfig(**settings),
        BridgeConfig(fresh_s=fresh_s),
    )
    operator = Operator(bus)
    try:
        yield bridge, operator, arm
    finally:
        bridge.close()
        operator.link.close()
        link.close()


def at_goal(arm):
    return abs(arm.q[0] - PointEnv.goal_m) < 0.005


def test_it_starts_goes_and_stops_by_its_services():
    with bridging(mode="auto") as (bridge, operator, arm):
        assert operator.status()["lifecycle"] == "unconfigured"
        assert operator.call("start")[0] and bridge.state is LifecycleState.ACTIVE
        until(lambda: at_goal(arm))
        status = operator.status()
        assert status["lifecycle"] == "active" and status["dispatch"]["sent"] > 0
        assert {"arm", "planner", "observations"} <= {d["name"] for d in status["diagnostics"]}
        assert operator.call("stop")[0] and bridge.state is LifecycleState.INACTIVE
        sent = len(arm.sent)
        assert arm.state is ArmState.HOLDING
        assert not operator.call("stop")[0]  # it is not active
        assert operator.call("start")[0]  # the model is still loaded
        assert bridge.planner.starts == 1
        until(lambda: len(arm.sent) > sent)
    assert bridge.state is LifecycleState.FINALIZED and arm.state is ArmState.DISCONNECTED


def test_a_plan_is_told_with_what_is_needed_to_judge_it():
    with bridging(mode="confirm") as (_, operator, _):
        assert operator.call("start")[0]
        plan = until(operator.plans)[0]
        assert plan["plan_id"] and 0 <= plan["success"] <= 1 and plan["trusted_steps"] > 0
        assert plan["margins"]["workspace"] > 0
        assert plan["expires_wall_s"] - plan["offered_wall_s"] == pytest.approx(30.0)
        assert "frames" not in plan or not plan["frames"]
        picture = until(lambda: operator.said["imagined"])[0]
        assert picture.frame == plan["plan_id"]
        assert picture.pixels.shape[1] > picture.pixels.shape[0]


def test_confirm_sends_what_is_approved_and_nothing_else():
    with bridging(mode="confirm") as (_bridge, operator, arm):
        operator.call("start")
        first = until(operator.plans)[0]["plan_id"]
        operator.approve("plan-99999")
        operator.status()  # half a second at least
        assert not arm.sent
        operator.approve(first)
        until(lambda: arm.sent)
        assert arm.sent[0].plan_id == first
        second = until(lambda: [p for p in operator.plans() if p["plan_id"] != first])[0]
        assert operator.call("reject") == (True, f"{second['plan_id']} is declined.")
        third = until(lambda: [p for p in operator.plans() if p["plan_id"] > second["plan_id"]])
        assert operator.call("approve")[0]
        until(lambda: len(arm.sent) == 2)
        assert arm.sent[1].plan_id == third[0]["plan_id"]


def test_nothing_is_approved_after_it_has_expired():
    with bridging(mode="confirm", approval_s=0.1) as (_, operator, arm):
        operator.call("start")
        first = until(operator.plans)[0]["plan_id"]
        until(lambda: len(operator.plans()) > 1)
        operator.approve(first)
        operator.status()
        assert not arm.sent


def test_shadow_tells_plans_and_sends_nothing():
    with bridging(mode="shadow") as (_, operator, arm):
        operator.call("start")
        until(lambda: len(operator.plans()) > 3)
        assert not arm.sent and not any(plan["sent"] for plan in operator.plans())


def test_the_emergency_stop_is_latched_until_it_is_reset():
    with bridging(mode="auto") as (_bridge, operator, arm):
        operator.call("start")
        until(lambda: arm.speed > 0.05)
        assert operator.call("estop")[0]
        sent = len(arm.sent)
        until(lambda: arm.speed == 0)
        levels = {d["name"]: d["level"] for d in operator.status()["diagnostics"]}
        assert levels["arm"] == 2 and arm.state is ArmState.STOPPED and len(arm.sent) == sent
        operator.call("reset")
        until(lambda: at_goal(arm))


def test_the_emergency_stop_works_before_anything_else_does():
    with bridging() as (bridge, operator, arm):
        assert operator.call("estop")[0] and arm.state is ArmState.STOPPED
        done, why = operator.call("start")
        assert not done and "emergency stop" in why
        assert bridge.state is LifecycleState.INACTIVE


def test_an_emergency_stop_while_it_is_being_activated_stays(monkeypatch):
    with bridging(mode="auto") as (bridge, operator, arm):
        bridge.machine.change("configure")
        resume = bridge.dispatcher.resume
        # The last moment: all that is looked at has been found well.
        monkeypatch.setattr(bridge.dispatcher, "resume", lambda: (operator.call("estop"), resume()))
        operator.call("start")
        operator.status()
        assert arm.state is ArmState.STOPPED and not arm.sent
        monkeypatch.undo()
        operator.call("reset")
        until(lambda: arm.sent)


def test_it_is_not_activated_while_the_arm_moves():
    arm = LiveArm()
    with bridging(arm=arm, mode="auto") as (bridge, operator, _):
        bridge.machine.change("configure")
        with dispatched_elsewhere(arm):
            done, why = operator.call("start")
        assert not done and "slide_x moves" in why and bridge.state is LifecycleState.INACTIVE


def test_it_is_not_activated_without_fresh_observations():
    arm = LiveArm()
    with bridging(arm=arm, fresh_s=0.2) as (bridge, operator, _):
        bridge.machine.change("configure")
        arm.frozen = True
        until(lambda: arm.observe().age_s > 0.5)
        done, why = operator.call("start")
        assert not done and "old" in why
        arm.frozen = False
        assert operator.call("start")[0]


def test_an_arm_that_is_not_there_is_said_and_leaves_nothing_behind(monkeypatch):
    arm = LiveArm()

    def connect():
        raise UserError("nobody publishes /joint_states.")

    monkeypatch.setattr(arm, "connect", connect)
    with bridging(arm=arm) as (bridge, operator, _):
        assert operator.call("start") == (False, "nobody publishes /joint_states.")
        assert bridge.state is LifecycleState.UNCONFIGURED and bridge.planner.state == "off"
        assert "joint_states" in operator.status()["reason"]


def test_a_model_that_cannot_be_loaded_is_said():
    with bridging(make=_no_model) as (bridge, operator, _):
        assert "there is no checkpoint" in operator.call("start")[1]
        assert bridge.state is LifecycleState.UNCONFIGURED


def test_an_arm_that_fails_is_held_and_the_bridge_says_so(monkeypatch):
    arm = LiveArm()
    with bridging(arm=arm, mode="auto") as (bridge, operator, _):
        operator.call("start")
        until(lambda: arm.speed > 0.05)

        def lost():
            raise OSError("the cable is out")

        monkeypatch.setattr(arm, "observe", lost)
        until(lambda: bridge.state is LifecycleState.INACTIVE)
        until(lambda: arm.speed == 0)
        assert "the cable is out" in operator.status()["reason"]


def test_pictures_stand_side_by_side_a_row_for_each_camera():
    frames = {
        "front": np.full((4, 2, 3, 3), 7, np.uint8),
        "wrist": np.full((4, 2, 2, 3), 9, np.uint8),
    }
    picture = side_by_side(frames)
    assert picture.shape == (4, 12, 3)
    assert (picture[:2] == 7).all() and (picture[2:, :8] == 9).all() and not picture[2:, 8:].any()


@contextlib.contextmanager
def dispatched_elsewhere(arm):
    """Somebody else moves the arm, slowly and for long."""
    assert arm.send(towards(arm, *[(0.001, 0.0, 0.0)] * 300)).accepted
    until(lambda: arm.speed > 0.08)
    yield


def _no_model():
    raise UserError("there is no checkpoint at nowhere.")
