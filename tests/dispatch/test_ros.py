"""An arm over a link: what comes in, what goes out, and what is said where something is missing."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time

import numpy as np
import pytest

from robowm.dispatch.arm import ArmState, Chunk
from robowm.dispatch.arms.ros import RosArm, RosArmConfig, TopicsConfig
from robowm.dispatch.wire.local import LocalLink
from robowm.dispatch.wire.messages import JointState, JointTrajectory, Numbers
from robowm.dispatch.wire.protocol import QoS
from robowm.errors import UserError
from tests.dispatch.controller import GOAL, READS, Joints, arm_and_controller, limits, senses
from tests.dispatch.test_arms import after, towards
from tests.dispatch.test_links import until

SOON = {"connect_timeout_s": 0.3}


@pytest.fixture
def made(request):
    """A connected arm and its controller; made anew with other settings where a test asks."""
    settings = getattr(request, "param", {})
    arm, controller = arm_and_controller(**settings)
    arm.connect()
    yield arm, controller
    arm.close()
    controller.close()


def long_chunk(arm, metres=0.4, seconds=2.0):
    """A fifth of a metre a second along x."""
    steps = int(seconds / 0.1)
    return towards(arm, *[(metres / steps, 0, 0)] * steps)


def at_speed(arm):
    """Returns while the arm is on its way, at the speed of :func:`long_chunk`."""
    assert until(lambda: abs(arm.observe().dq[0] - 0.2) < 0.01, 5.0)


def test_joints_come_in_any_order_among_others(made):
    arm, controller = made
    assert controller.names != arm.spec.joints
    q, _ = controller.at()
    np.testing.assert_allclose(arm.observe().q, q)


def test_what_the_agent_reads_is_there(made):
    arm, _ = made
    seen = arm.observe()
    assert set(seen.arrays) == set(READS)
    for name, spec in READS.items():
        assert seen.arrays[name].shape == spec.shape and seen.arrays[name].dtype == spec.dtype
    assert (seen.arrays["image_front"] == 100).all()
    np.testing.assert_array_equal(seen.arrays["goal"][0], GOAL)
    np.testing.assert_allclose(seen.arrays["proprio"][:3], seen.q, rtol=1e-6)


def test_a_goal_may_be_set_and_must_fit(made):
    arm, _ = made
    arm.goal = [0.25, 0.5]
    np.testing.assert_array_equal(arm.observe().arrays["goal"], [[0.25, 0.5]])
    with pytest.raises(UserError, match="3 numbers, expected 2"):
        arm.goal = [1, 2, 3]


@pytest.mark.parametrize("made", [{"velocities": "none"}, {"velocities": "nan"}], indirect=True)
def test_speed_is_told_by_position_where_it_is_not_measured(made):
    arm, _ = made
    arm.send(long_chunk(arm))
    at_speed(arm)
    assert until(lambda: np.abs(arm.observe().dq).max() < 1e-3, 5.0)


def test_trajectories_start_on_arrival_and_leave_out_what_is_past(made):
    arm, controller = made
    seen = arm.observe()
    q = seen.q + np.linspace(0, 0.02, 5)[1:, None] * [1, 0, 0]
    chunk = Chunk(seen.stamp_s - 0.25, 0.1, q, np.zeros_like(q), "p", arm.spec.joints)
    receipt = arm.send(chunk)
    assert receipt.accepted and receipt.sent == 2
    assert until(lambda: controller.told)
    told = controller.told[-1]
    assert told.stamp_s == 0 and told.names == arm.spec.joints
    np.testing.assert_array_equal(told.position, q[2:])
    assert 0 < told.time_s[0] < 0.06 and told.time_s[1] - told.time_s[0] == pytest.approx(0.1)


@pytest.mark.parametrize("made", [{"latency_s": 0.12}], indirect=True)
def test_a_known_latency_is_made_up_for(made):
    arm, controller = made
    seen = arm.observe()
    q = np.repeat(seen.q[None], 4, axis=0)
    chunk = Chunk(seen.stamp_s, 0.1, q, np.zeros_like(q), "p", arm.spec.joints)
    assert arm.send(chunk).sent == 3
    assert until(lambda: controller.told)
    assert controller.told[-1].time_s[0] < 0.09


def refused(arm, **changes):
    receipt = arm.send(dataclasses.replace(towards(arm, (0.01, 0, 0)), **changes))
    assert not receipt.accepted and receipt.sent == 0
    return receipt.reason


def test_chunks_that_make_no_sense_are_refused(made):
    arm, controller = made
    now_s = arm.observe().stamp_s
    assert "ago" in refused(arm, t0_s=now_s - 100)
    assert "starts in" in refused(arm, t0_s=now_s + 100)
    assert "is for a, b" in refused(arm, joints=("a", "b"))
    assert "not finite" in refused(arm, q=np.full((2, 3), np.nan), dq=np.zeros((2, 3)))
    time.sleep(0.05)
    assert controller.told == [] and arm.state is ArmState.READY


@pytest.mark.parametrize("made", [{"stale_s": 0.1}], indirect=True)
def test_nothing_is_sent_while_joint_states_are_missing(made):
    arm, controller = made
    controller.silent = True
    assert until(lambda: arm.observe().age_s > 0.15, 5.0)
    assert "no joint states" in refused(arm)
    controller.silent = False
    assert until(lambda: arm.send(towards(arm)).accepted, 5.0)


def test_an_old_picture_makes_the_observation_old(made):
    arm, controller = made
    assert arm.observe().age_s < 1.0
    controller.picture = lambda message: None
    assert until(lambda: arm.observe().age_s == math.inf, 5.0)


@pytest.mark.parametrize("by_s", [-50.0, 50.0])
def test_a_clock_that_is_set_stops_sending_until_it_is_steady(made, by_s):
    arm, controller = made
    old = towards(arm, (0.01, 0, 0))
    before_s = arm.observe().stamp_s
    arm.clock._needed = 40  # so that the test has time to look
    controller.clock_s += by_s
    assert until(lambda: arm.clock.jumps == 1, 5.0)
    assert arm.observe().age_s == math.inf
    assert "clock" in refused(arm)
    assert until(lambda: arm.clock.steady, 5.0)
    assert arm.observe().stamp_s - before_s == pytest.approx(by_s, abs=5)
    assert not arm.send(old).accepted  # of the clock before
    assert arm.send(towards(arm, (0.01, 0, 0))).accepted
    assert arm.clock.jumps == 1


def test_holding_brakes_gently_and_the_gripper_keeps_what_it_was_told(made):
    arm, controller = made
    chunk = long_chunk(arm)
    q = chunk.q.copy()
    q[:, 2] = 0.01
    arm.send(dataclasses.replace(chunk, q=q))
    at_speed(arm)
    controller.told.clear()
    arm.hold()
    assert until(lambda: controller.told)
    (told,) = controller.told
    np.testing.assert_array_equal(told.velocity, np.zeros((1, 3)))
    assert told.position[0, 2] == 0.01
    change = arm.spec.acceleration[0]
    assert told.time_s[0] == pytest.approx(0.2 / (0.5 * change), rel=0.2)


def test_an_emergency_stop_brakes_hard_again_and_again_until_it_stands(made):
    arm, controller = made
    arm.send(long_chunk(arm))
    at_speed(arm)
    controller.told.clear()
    controller.deaf = 2
    begin = time.perf_counter()
    arm.estop()
    assert time.perf_counter() - begin < 0.1 and arm.state is ArmState.STOPPED
    assert until(lambda: len(controller.told) >= 1)
    hard_s = controller.told[0].time_s[0]
    assert hard_s == pytest.approx(0.2 / arm.spec.acceleration[0], rel=0.2)
    assert until(lambda: np.abs(controller.at()[1]).max() == 0, 5.0)
    assert until(lambda: not arm._stopping.is_alive(), 5.0)
    count = len(controller.told)
    for _ in range(3):
        assert not arm.send(towards(arm)).accepted
        arm.hold()
        arm.estop()
        time.sleep(0.05)
    assert len(controller.told) == count, "nothing is sent once it stands"
    arm.reset()
    assert arm.state is ArmState.HOLDING and arm.send(towards(arm)).accepted


def test_a_stop_that_comes_while_one_is_being_left_is_kept(made):
    arm, _ = made
    arm.estop()
    first = arm._stopping

    class Slow:
        def join(self):
            first.join()
            arm.estop()  # as an operator would, while reset() waits

    arm._stopping = Slow()
    arm.reset()
    assert arm.state is ArmState.STOPPED
    arm.reset()
    assert arm.state is ArmState.HOLDING


def test_a_stop_without_joint_states_brakes_from_where_it_should_be(made):
    arm, controller = made
    arm._config = dataclasses.replace(arm._config, stale_s=0.1)
    arm.send(long_chunk(arm))
    after(arm, 0.3)
    controller.silent = True
    assert until(lambda: arm.observe().age_s > 0.2, 5.0)
    last = arm.observe().q[0]
    controller.told.clear()
    arm.hold()
    assert until(lambda: controller.told)
    assert controller.told[0].position[0, 0] > last + 0.02


@pytest.mark.parametrize("made", [{"gripper": "grip"}], indirect=True)
def test_a_gripper_with_a_controller_of_its_own(made):
    arm, controller = made
    chunk = towards(arm, (0.01, 0, -0.03))
    assert arm.send(chunk).accepted
    assert until(lambda: len(controller.told) == 2)
    names = {told.names: told.position for told in controller.told}
    assert set(names) == {("slide_x", "slide_y"), ("gripper",)}
    np.testing.assert_array_equal(names["gripper",][-1], chunk.q[-1, 2:])


@contextlib.contextmanager
def telling(names, link, topic):
    """Joint states of joints that stand, until the end of the block."""
    link.open()
    states, over = link.publisher(topic, JointState, QoS.SENSOR), threading.Event()

    def tell():
        still = np.zeros(len(names))
        while not over.wait(0.005):
            states(JointState(time.time(), names, still, still))

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    yield
    over.set()
    thread.join()
    link.close()


def test_joints_may_have_other_names_and_stand_in_a_namespace():
    names, told = ("j1", "j2", "finger"), []
    link = LocalLink("driver", "left")
    link.subscribe(
        "joint_trajectory_controller/joint_trajectory", JointTrajectory, told.append, QoS.COMMAND
    )
    config = RosArmConfig(namespace="left", joint_names=list(names), limits=limits(), stale_s=5.0)
    reads = {"proprio": READS["proprio"]}
    arm = RosArm(config, Joints(), reads, senses, link=LocalLink("robowm", "left"))
    with telling(names, link, "joint_states"):
        arm.connect()
        assert arm.spec.joints == names
        assert arm.send(towards(arm, (0.01, 0, 0))).accepted
        assert until(lambda: told, 5.0)
        assert told[0].names == names
        arm.close()


def alone(reads=READS, goal=None, **settings):
    topics = TopicsConfig(joint_states="/lonely/joints", trajectory="/lonely/command")
    config = RosArmConfig(topics=topics, **SOON, **settings)
    return RosArm(config, Joints(), reads, senses, goal, LocalLink(config.node))


def test_what_is_missing_is_named():
    arm = alone()
    with pytest.raises(UserError) as error:
        arm.connect()
    for part in ("joint states on /lonely/joints", "nobody listens on /lonely/command",
                 "no picture on /camera/front/image_raw", "no goal on /robowm/goal"):  # fmt: skip
        assert part in str(error.value)
    assert arm.state is ArmState.DISCONNECTED


def test_joints_that_are_missing_are_named():
    with (
        telling(("slide_x", "finger"), LocalLink("driver"), "/lonely/joints"),
        pytest.raises(UserError, match="none with slide_y, gripper"),
    ):
        alone().connect()


def test_a_goal_of_the_wrong_size_counts_as_none(caplog):
    link = LocalLink("goals")
    link.open()
    link.publisher("/robowm/goal", Numbers, QoS.LATCHED)(Numbers(np.zeros(7)))
    with pytest.raises(UserError, match="no goal on"):
        alone().connect()
    link.close()
    assert "7 numbers" in caplog.text


def test_an_agent_for_another_task_is_told_so(made):
    arm, _ = made
    arm.close()
    arm._senses = lambda q, dq, effort: {"proprio": np.zeros(5, np.float32)}
    with pytest.raises(UserError, match=r"proprio of shape \(6,\).*\(5,\)"):
        arm.connect()


def test_cameras_without_a_topic_are_named():
    with pytest.raises(UserError, match=r"arm.topics.cameras.side"):
        alone({"image_side": READS["image_front"]}).connect()


@pytest.mark.parametrize(
    "settings, said",
    [({"rate_hz": 0.0}, "rate_hz"), ({"stale_s": -1.0}, "stale_s"), ({"latency_s": 2.0}, "latency_s"),
     ({"joint_names": ["a", "a", "b"]}, "different names")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(UserError, match=said):
        alone(**settings)
