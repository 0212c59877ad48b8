"""The bridge as a lifecycle node of ROS 2, seen by a client that has only rclpy's own means."""

import contextlib
import json
import threading
import time

import pytest

from robowm.dispatch.arm import ArmState
from robowm.dispatch.bridge.node import Bridge, BridgeConfig
from robowm.dispatch.online.dispatch_config import DispatchConfig
from robowm.dispatch.safety import SafetyGate
from robowm.dispatch.wire.messages import Text
from robowm.dispatch.wire.protocol import QoS
from robowm.dispatch.wire.ros2 import Ros2Link, remappings
from tests.dispatch import toy
from tests.dispatch.live import PATIENT, LiveArm, ThreadPlanner, until
from tests.dispatch.test_arms import towards
from tests.evaluation.toys import PointEnv

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not there: make ros-kilted ros-test")

PARAMETERS = {"rate_hz": 100.0, "mode": "auto", "joint_names": ["a", "b"], "limits.force_n": 60.0}


class Client:
    """A node of somebody else's."""

    def __init__(self):
        from rclpy.executors import SingleThreadedExecutor

        self.clients = {}
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context)
        self.node = rclpy.create_node("operator", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        threading.Thread(target=self.executor.spin, daemon=True).start()

    def ask(self, kind, name, **fields):
        if name not in self.clients:
            self.clients[name] = self.node.create_client(kind, name)
            assert self.clients[name].wait_for_service(30), f"nobody serves {name}"
            time.sleep(0.3)  # the server has yet to know where the answer goes
        client = self.clients[name]
        future = client.call_async(kind.Request(**fields))
        until(future.done)
        return future.result()

    def change(self, transition, node="/robowm_bridge"):
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        wanted = Transition(id=getattr(Transition, f"TRANSITION_{transition.upper()}"))
        return self.ask(ChangeState, f"{node}/change_state", transition=wanted).success

    def state(self, node="/robowm_bridge"):
        from lifecycle_msgs.srv import GetState

        return self.ask(GetState, f"{node}/get_state").current_state.label

    def trigger(self, name):
        from std_srvs.srv import Trigger

        answer = self.ask(Trigger, name)
        return answer.success, answer.message

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def client():
    made = Client()
    yield made
    made.close()


@contextlib.contextmanager
def node(arguments=(), arm=None, make=toy.going_to_the_goal, mode="auto"):
    """A bridge whose link is a lifecycle node."""
    from robowm.dispatch.bridge.ros2_node import BridgeNode

    def make_node(name, **given):
        return BridgeNode(name, PARAMETERS, **given)

    link = Ros2Link("robowm_bridge", arguments=arguments, make_node=make_node)
    link.open()
    arm = arm or LiveArm()
    bridge = Bridge(
        link,
        arm,
        ThreadPlanner(make),
        SafetyGate(PATIENT, arm.spec, toy.PointBody()),
        toy.PointCommander(),
        (False, False, True),
        DispatchConfig(mode=mode, planner_timeout_s=20.0),
        BridgeConfig(fresh_s=1.0),
        machine=link.node,
    )
    link.node.manage(bridge)
    try:
        yield bridge, arm
    finally:
        bridge.close()
        link.close()


def test_a_lifecycle_client_takes_it_through_its_states(client):
    with node() as (bridge, arm):
        assert client.state() == "unconfigured"
        assert client.change("configure") and client.state() == "inactive"
        assert client.change("activate") and client.state() == "active"
        until(lambda: abs(arm.q[0] - PointEnv.goal_m) < 0.005)
        assert client.change("deactivate") and client.state() == "inactive"
        assert arm.state is ArmState.HOLDING
        assert client.change("cleanup") and client.state() == "unconfigured"
        assert arm.state is ArmState.DISCONNECTED and bridge.planner.state == "off"
        assert not client.change("activate")  # there is no such way
        assert client.change("unconfigured_shutdown") and client.state() == "finalized"


def test_what_is_not_safe_is_refused_and_told(client):
    arm = LiveArm()
    with node(arm=arm) as (_bridge, _):
        assert client.change("configure")
        assert arm.send(towards(arm, *[(0.001, 0.0, 0.0)] * 400)).accepted
        until(lambda: arm.observe().dq[0] > 0.08)
        assert not client.change("activate") and client.state() == "inactive"
        done, why = client.trigger("/robowm_bridge/start")
        assert not done and "slide_x moves" in why


def test_what_breaks_holds_the_arm(client, monkeypatch):
    with node() as (_bridge, arm):
        assert client.change("configure")

        def broken():
            raise OSError("the cable is out")

        monkeypatch.setattr(arm, "observe", broken)
        assert not client.change("activate")
        assert client.state() == "unconfigured" and arm.held > 0


def test_while_the_model_is_loaded_it_answers_and_stops(client):
    """A transition that takes long keeps nobody waiting."""
    loads = threading.Event()
    with node(make=lambda: (loads.wait(30), toy.going_to_the_goal())[1]) as (bridge, arm):
        thread = threading.Thread(target=bridge.start)
        thread.start()
        until(lambda: client.state() == "configuring")
        assert client.trigger("/robowm_bridge/estop")[0]
        assert arm.state is ArmState.STOPPED
        loads.set()
        thread.join(30)
        assert client.state() == "inactive"  # it does not start out of an emergency stop


def test_services_and_status_are_ros_2s_own(client):
    from std_msgs.msg import String

    heard = []
    with node(mode="confirm") as (_bridge, arm):
        client.node.create_subscription(String, "/robowm_bridge/status", heard.append, 10)
        assert client.trigger("/robowm_bridge/start")[0]
        assert client.trigger("/robowm_bridge/approve")[0] or until(
            lambda: client.trigger("/robowm_bridge/approve")[0]
        )
        until(lambda: arm.sent)
        status = json.loads(until(lambda: heard)[-1].data)
        assert status["lifecycle"] in ("inactive", "active") and status["mode"] == "confirm"


def test_parameters_are_declared_and_may_be_overridden(client, tmp_path):
    from rcl_interfaces.srv import GetParameters, SetParameters
    from rclpy.parameter import Parameter

    file = tmp_path / "arm.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    limits: {force_n: 20.0}\n    joint_names: [c, d]\n"
    )
    arguments = ["--ros-args", "-p", "rate_hz:=50", "--params-file", str(file)]
    with node(arguments) as (bridge, _):
        given = bridge.link.node.overrides()
        assert given == {"rate_hz": 50, "joint_names": ["c", "d"], "limits.force_n": 20.0}
        values = client.ask(
            GetParameters, "/robowm_bridge/get_parameters", names=["rate_hz", "mode"]
        ).values
        assert values[0].integer_value == 50 and values[1].string_value == "auto"
        wanted = [Parameter("mode", value="shadow").to_parameter_msg()]
        (result,) = client.ask(
            SetParameters, "/robowm_bridge/set_parameters", parameters=wanted
        ).results
        assert not result.successful  # what was activated stays what it is


def test_namespace_name_and_topics_may_be_remapped(client):
    arguments = [
        "--ros-args", "-r", "__ns:=/left", "-r", "__node:=planner",
        "-r", "joint_states:=driver/joints", "-r", "~/plan:=/screen/plan",
    ]  # fmt: skip
    heard = []
    with node(arguments, mode="shadow") as (bridge, _):
        assert bridge.link.name == "planner" and bridge.link.namespace == "/left"
        bridge.link.subscribe("joint_states", Text, heard.append, QoS.STATUS)
        other = Ros2Link("driver")
        other.open()
        try:
            publish = other.publisher("/left/driver/joints", Text, QoS.STATUS)
            until(lambda: other.listeners("/left/driver/joints"))
            publish(Text("there"))
            assert until(lambda: heard)[0] == Text("there")
            plans = []
            other.subscribe("/screen/plan", Text, plans.append, QoS.LATCHED)
            assert client.trigger("/left/planner/start")[0]
            assert until(lambda: plans)
        finally:
            other.close()


def test_a_node_without_a_bridge_goes_nowhere(client):
    from robowm.dispatch.bridge.ros2_node import BridgeNode

    link = Ros2Link(
        "robowm_bridge", make_node=lambda name, **given: BridgeNode(name, PARAMETERS, **given)
    )
    link.open()
    try:
        assert not client.change("configure") and client.state() == "unconfigured"
    finally:
        link.close()


def test_remappings_are_told_to_the_node_of_the_topics():
    given = [
        "--ros-args", "-r", "__ns:=/a", "-r", "joint_states:=js", "--remap", "~/plan:=/p",
        "-r", "bridge:goal:=g", "-r", "other:goal:=h", "-p", "x:=1",
    ]  # fmt: skip
    assert remappings(given, "bridge", "/a") == [
        "--ros-args", "-r", "/a/joint_states:=js", "-r", "/a/bridge/plan:=/p", "-r", "/a/goal:=g",
    ]  # fmt: skip
    assert remappings(["--ros-args", "-p", "x:=1"], "bridge", "/a") == []
