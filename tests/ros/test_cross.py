"""ROS 2 at one end, and its wire conventions without ROS at the other: one network, two programs' worth."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from robowm.dispatch.wire import LINKS
from robowm.dispatch.wire.messages import Image
from robowm.dispatch.wire.protocol import QoS
from tests.dispatch.controller import arm_and_controller
from tests.dispatch.test_arms import after, towards
from tests.dispatch.test_links import DISCOVERY_S, MESSAGES, connected, same, until

pytest.importorskip("rclpy", reason="rclpy is not installed: make ros-kilted or make ros-jazzy")
pytest.importorskip("cyclonedds", reason="cyclonedds is not installed: pip install 'robowm[dds]'")

WAYS = [("ros2", "dds"), ("dds", "ros2")]


@pytest.fixture(params=WAYS, ids="-".join)
def pair(request):
    links = [LINKS[kind](f"{kind}_{uuid.uuid4().hex[:8]}") for kind in request.param]
    for link in links:
        link.open()
    yield links
    for link in links:
        link.close()


def test_every_message_crosses_as_it_was_sent(pair):
    kinds = sorted({type(message) for message in MESSAGES}, key=str)
    for number, kind in enumerate(kinds):
        heard, qos = [], list(QoS)[number % len(QoS)]
        publish, _ = connected(*pair, f"/cross/{kind.__name__}", kind, qos, heard.append)
        for message in (m for m in MESSAGES if type(m) is kind):
            heard.clear()
            publish(message)
            assert until(lambda heard=heard: heard, 5.0), f"{message} was lost"
            same(message, heard[0])


def test_a_picture_as_large_as_a_camera_s_crosses(pair):
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    heard = []
    publish, _ = connected(*pair, "/cross/picture", Image, QoS.STATUS, heard.append)
    publish(Image(1.0, pixels))
    assert until(lambda: heard, 10.0)
    np.testing.assert_array_equal(heard[0].pixels, pixels)


def test_who_comes_late_is_told_the_last(pair):
    kind = type(MESSAGES[-1])
    pair[0].publisher("/cross/late", kind, QoS.LATCHED)(MESSAGES[-2])
    heard = []
    pair[1].subscribe("/cross/late", kind, heard.append, QoS.LATCHED)
    assert until(lambda: heard)
    same(MESSAGES[-2], heard[0])


def test_services_cross(pair):
    asked = []
    pair[0].serve("~/stop", lambda: (asked.append(1) is None, f"stopped {len(asked)}"))
    for n in (1, 2):
        assert pair[1].call(f"/{pair[0].name}/stop", DISCOVERY_S) == (True, f"stopped {n}")


@pytest.mark.parametrize("ours, theirs", WAYS)
def test_an_arm_moves_over_both(ours, theirs):
    arm, controller = arm_and_controller(ours, theirs)
    try:
        arm.connect()
        chunk = towards(arm, (0.01, 0, 0), (0.01, 0, 0))
        assert arm.send(chunk).accepted
        np.testing.assert_allclose(after(arm, 1.0).q[:2], chunk.q[-1, :2], atol=2e-3)
        arm.estop()
        arm.reset()
        assert arm.send(towards(arm)).accepted
    finally:
        arm.close()
        controller.close()
