"""The contract of every link. What is not installed is skipped, and says so."""

from __future__ import annotations

import sys
import threading
import time
import uuid

import numpy as np
import pytest

from robowm.dispatch.wire import LINKS
from robowm.dispatch.wire.messages import (
    CompressedImage,
    Image,
    JointState,
    JointTrajectory,
    Numbers,
    Text,
)
from robowm.dispatch.wire.protocol import QoS
from robowm.errors import UserError

DISCOVERY_S = 20.0


def until(true, seconds=DISCOVERY_S):
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@pytest.fixture(scope="module", params=sorted(LINKS))
def kind(request):
    link = LINKS[request.param](f"probe_{uuid.uuid4().hex[:8]}")
    try:
        link.open()
    except UserError as error:
        pytest.skip(f"{request.param}: {error}")
    link.close()
    return request.param


@pytest.fixture
def join(kind):
    """Opens as many links as are asked for; closes them after the test."""
    joined = []

    def one(name=None):
        link = LINKS[kind](name or f"node_{uuid.uuid4().hex[:8]}")
        link.open()
        joined.append(link)
        return link

    yield one
    for link in joined:
        link.close()


@pytest.fixture
def pair(join):
    return join(), join()


@pytest.fixture
def topic():
    return f"/test_{uuid.uuid4().hex[:12]}"


PICTURE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
MESSAGES = [
    JointState(12.25, ("a", "b"), np.array([1.0, np.nan]), np.array([np.inf, 0.0])),
    JointState(1e9 + 0.5, ("é",), np.zeros(0), np.zeros(0), np.array([3.0])),
    JointTrajectory(
        0.0, ("a", "b"), np.array([0.05, 0.1]), np.eye(2), np.array([[np.nan, 1.0], [0.0, 0.0]])
    ),
    JointTrajectory(0.0, ("a",), np.zeros(0), np.zeros((0, 1)), np.zeros((0, 1))),
    Image(3.0, PICTURE, "front"),
    CompressedImage(4.0, bytes(range(256)), "png"),
    Numbers(np.array([0.5, np.nan, -1e300])),
    Numbers(np.zeros(0)),
    Text('{"plan": "größer"}'),
    Text(""),
]


def connected(sender, receiver, topic, kind, qos, heard):
    """A publisher whose messages come to ``heard``. Each end finds the other in its own time, and only
    one can be asked: the first messages are trials."""
    arrived, ready = threading.Event(), threading.Event()

    def hear(message):
        if ready.is_set():
            heard(message)
        else:
            arrived.set()

    publish = sender.publisher(topic, kind, qos)
    end = receiver.subscribe(topic, kind, hear, qos)
    trial = next(message for message in MESSAGES if type(message) is kind)
    assert until(lambda: publish(trial) or arrived.wait(0.02)), "nobody was discovered"
    assert sender.listeners(topic) == 1
    time.sleep(0.1)  # for trials that are under way
    ready.set()
    return publish, end


def same(a, b):
    assert type(a) is type(b)
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, np.ndarray):
            assert value.shape == other.shape and value.dtype == other.dtype, name
            # Times are told in whole nanoseconds.
            exact = 1e-9 if name == "time_s" else 0.0
            np.testing.assert_allclose(value, other, rtol=0, atol=exact)
        elif isinstance(value, float):
            assert value == pytest.approx(other, abs=1e-6)
        else:
            assert value == other, name


def test_every_message_arrives_as_it_was_sent(pair, topic):
    kinds = sorted({type(message) for message in MESSAGES}, key=str)
    for number, kind in enumerate(kinds):
        heard, qos = [], list(QoS)[number % len(QoS)]
        publish, _ = connected(*pair, f"{topic}/{kind.__name__}", kind, qos, heard.append)
        for message in (m for m in MESSAGES if type(m) is kind):
            heard.clear()
            publish(message)
            assert until(lambda heard=heard: heard, 5.0), f"{message} was lost"
            same(message, heard[0])


def test_a_message_of_another_kind_is_refused(pair, topic):
    publish = pair[0].publisher(topic, Text, QoS.STATUS)
    with pytest.raises(TypeError, match="Text"):
        publish(Numbers(np.zeros(1)))


def test_a_hundred_messages_arrive_in_order(pair, topic):
    heard = []
    publish, _ = connected(*pair, topic, Text, QoS.STATUS, lambda m: heard.append(int(m.data)))
    for n in range(100):
        publish(Text(str(n)))
    assert until(lambda: len(heard) == 100, 5.0)
    assert heard == list(range(100))


def test_who_comes_late_is_told_the_last_of_a_latched_topic(pair, topic):
    publish = pair[0].publisher(topic, Text, QoS.LATCHED)
    publish(Text("first"))
    publish(Text("last"))
    heard = []
    pair[1].subscribe(topic, Text, lambda m: heard.append(m.data), QoS.LATCHED)
    assert until(lambda: heard)
    time.sleep(0.1)
    assert heard == ["last"]


def test_of_commands_that_come_while_one_is_busy_the_newest_is_kept(pair, topic):
    heard, busy, begun = [], threading.Event(), threading.Event()

    def slow(message):
        heard.append(message.data)
        begun.set()
        busy.wait(10.0)

    publish, _ = connected(*pair, topic, Text, QoS.COMMAND, slow)
    publish(Text("0"))
    assert begun.wait(5.0)
    for n in range(1, 6):
        publish(Text(str(n)))
        time.sleep(0.02)
    time.sleep(0.3)
    busy.set()
    assert until(lambda: heard[-1] == "5", 5.0)
    assert len(heard) <= 3, heard  # one that was being handed over as the next came


def test_a_busy_subscription_holds_up_no_other(pair, topic):
    busy, begun, heard = threading.Event(), threading.Event(), []
    slow, _ = connected(
        *pair, f"{topic}/slow", Text, QoS.STATUS, lambda _: (begun.set(), busy.wait(10.0))
    )
    quick, _ = connected(*pair, f"{topic}/quick", Text, QoS.STATUS, heard.append)
    slow(Text(""))
    assert begun.wait(5.0)
    quick(Text(""))
    assert until(lambda: heard, 5.0)
    busy.set()


def test_what_a_callback_raises_ends_nothing(pair, topic, caplog):
    heard = []

    def hear(message):
        heard.append(message.data)
        if message.data == "bad":
            raise ValueError("no good")

    publish, _ = connected(*pair, topic, Text, QoS.STATUS, hear)
    for said in ("bad", "bad", "good"):
        publish(Text(said))
    assert until(lambda: heard == ["bad", "bad", "good"], 5.0)
    assert caplog.text.count("dropped") == 1, "a log is not flooded"


def test_an_ended_subscription_hears_nothing(pair, topic):
    first, second = [], []
    publish, end = connected(*pair, topic, Text, QoS.STATUS, first.append)
    pair[1].subscribe(topic, Text, second.append, QoS.STATUS)
    assert until(lambda: pair[0].listeners(topic) >= 1)
    publish(Text("1"))
    assert until(lambda: first, 5.0)
    end()
    end()
    assert until(lambda: publish(Text("2")) or second, 5.0)
    assert [m.data for m in first] == ["1"]


def test_closing_ends_all_callbacks_and_threads(join, topic):
    sender, receiver = join(), join()
    before = set(threading.enumerate())
    third = join()
    heard = []
    publish = sender.publisher(topic, Text, QoS.STATUS)
    third.subscribe(topic, Text, heard.append, QoS.STATUS)
    third.serve("~/ping", lambda: (True, ""))
    assert receiver.call(f"/{third.name}/ping", DISCOVERY_S) == (True, "")
    assert until(lambda: publish(Text("1")) or heard, 5.0)
    late = third.publisher(topic, Text, QoS.STATUS)
    third.close()
    third.close()
    heard.clear()
    for _ in range(5):
        publish(Text("2"))
        late(Text("from a closed link"))
        time.sleep(0.02)
    assert heard == []
    assert until(lambda: sender.listeners(topic) == 0)
    named = [t.name for t in set(threading.enumerate()) - before if t.name.startswith(third.name)]
    assert named == []


@pytest.mark.parametrize("name", ["", "/", "with space", "/a//b", "~/é", "/1st", "a-b"])
def test_what_is_no_name_is_refused(join, name):
    with pytest.raises(UserError, match="no name of a topic"):
        join().publisher(name, Text, QoS.STATUS)


def test_names_below_the_node(join):
    node, other = join(), join()
    heard = []
    publish = node.publisher("~/plan", Text, QoS.LATCHED)
    publish(Text("plan"))
    other.subscribe(f"/{node.name}/plan", Text, heard.append, QoS.LATCHED)
    assert until(lambda: heard)


def test_a_service_answers(pair):
    server, client = pair
    asked = []
    server.serve("~/stop", lambda: (asked.append(1) is None, f"stopped {len(asked)}"))
    name = f"/{server.name}/stop"
    for n in range(1, 4):
        assert client.call(name, DISCOVERY_S) == (True, f"stopped {n}")


def test_a_service_may_call_another_and_messages_still_come(pair, topic):
    server, client = pair
    server.serve("~/inner", lambda: (True, "inner"))
    server.serve("~/outer", lambda: server.call(f"/{server.name}/inner", 10.0))
    assert client.call(f"/{server.name}/outer", DISCOVERY_S) == (True, "inner")


def test_a_service_that_fails_says_why(pair):
    server, client = pair

    def fail():
        raise RuntimeError("no brakes")

    server.serve("~/stop", fail)
    success, why = client.call(f"/{server.name}/stop", DISCOVERY_S)
    assert not success and "no brakes" in why


def test_where_nobody_answers_in_time_the_call_returns(pair):
    server, client = pair
    begin = time.monotonic()
    success, why = client.call("/nobody/stop", 0.3)
    assert not success and "nobody serves" in why
    done = threading.Event()
    calls = []

    def slow():
        calls.append(1)
        done.wait(10.0)
        return True, ""

    server.serve("~/slow", slow)
    assert until(
        lambda: "did not answer" in client.call(f"/{server.name}/slow", 0.5)[1] or not calls
    )
    assert until(lambda: calls or client.call(f"/{server.name}/slow", 0.5)[0])
    done.set()
    assert time.monotonic() - begin < DISCOVERY_S + 5


def test_counting_listeners(pair, topic):
    sender, receiver = pair
    assert sender.listeners(topic) == 0
    end = receiver.subscribe(topic, Text, lambda _: None, QoS.STATUS)
    assert until(lambda: sender.listeners(topic) == 1)
    end()
    assert until(lambda: sender.listeners(topic) == 0)
    receiver.subscribe(topic, Text, lambda _: None, QoS.SENSOR)
    assert until(lambda: sender.listeners(topic) == 1)
    receiver.close()
    assert until(lambda: sender.listeners(topic) == 0)


@pytest.mark.parametrize(
    "kind, module, line",
    [("ros2", "rclpy", "make ros-kilted"), ("ros1", "rospy", "make ros-1"),
     ("dds", "cyclonedds.builtin", "pip install 'robowm[dds]'")],
)  # fmt: skip
def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    monkeypatch, kind, module, line
):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as error:
        LINKS[kind]("nobody").open()
    assert line in str(error.value) and error.value.exit_code == 2


@pytest.mark.parametrize("where", ["LOCALHOST", "SUBNET", ""])
def test_who_keeps_to_this_machine_is_met_by_who_does_not(monkeypatch, where):
    """An arm server on loopback alone was not found by a bridge that also spoke to the network."""
    from robowm.dispatch.wire.dds import settings

    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", where)
    told = settings()
    assert '<NetworkInterface address="127.0.0.1"' in told and '<Peer address="127.0.0.1"/>' in told
    assert ("autodetermine" in told) == (where != "LOCALHOST")
