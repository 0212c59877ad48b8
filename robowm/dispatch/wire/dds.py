"""ROS 2's topics without ROS: its naming and byte order over Eclipse Cyclone DDS.

A topic ``/joint_states`` is ``rt/joint_states`` on the wire, of type
``sensor_msgs::msg::dds_::JointState_``, without a key, in plain CDR
(https://design.ros2.org/articles/topic_and_service_names.html). Bytes are made and read by rosbags:
Cyclone's own Python serialiser takes 50 times as long for a picture.

Services over DDS alone are two topics, see :mod:`robowm.dispatch.wire.trigger`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from robowm.dispatch.wire import cdr, trigger
from robowm.dispatch.wire.mailbox import Receiver
from robowm.dispatch.wire.protocol import Answer, M, QoS, full_name
from robowm.errors import UserError

# Fast DDS 3 (ROS 2 Kilted) describes the same types with other type identifiers: vendor 1.15 is taken
# at its word by the name of the type alone.
SETTINGS = """<CycloneDDS><Domain>
<General><Interfaces>{interfaces}</Interfaces>{multicast}</General>
<Compatibility><IgnoreTypeInformation>1.15</IgnoreTypeInformation></Compatibility>
{discovery}</Domain></CycloneDDS>"""
LOOPBACK = '<NetworkInterface address="127.0.0.1" multicast="false"/>'
# Whoever keeps to this machine has no multicast, and is found by asking ports one by one.
HERE = (
    "<Discovery><ParticipantIndex>auto</ParticipantIndex>"
    "<MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>"
    '<Peers><Peer address="127.0.0.1"/></Peers></Discovery>'
)
NETWORK = '<NetworkInterface autodetermine="true"/>'


class DdsLink:
    """A participant; each subscription has a thread.

    Args:
      domain: None leaves it to ROS_DOMAIN_ID. ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST is kept to, and
        CYCLONEDDS_URI takes the place of what is set here.
    """

    def __init__(self, name: str = "robowm", namespace: str = "", domain: int | None = None):
        self.name, self.namespace = name, namespace
        self._domain = chosen_domain() if domain is None else domain
        self._ends: list[Callable[[], None]] = []
        self._topics: dict[str, Any] = {}
        self._callers: dict[str, trigger.Caller] = {}
        self._lock = threading.Lock()
        self._participant: Any = None
        self._subscriptions: Any = None

    def open(self) -> None:
        try:
            from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsSubscription
        except ImportError as error:
            raise UserError(
                f"cyclonedds cannot be imported ({error}): pip install 'robowm[dds]'."
            ) from error
        cdr.store()  # says now, not with the first message, where rosbags is missing
        self._stack = contextlib.ExitStack()
        self._participant = self._stack.enter_context(participant(self._domain))
        self._subscriptions = BuiltinDataReader(self._participant, BuiltinTopicDcpsSubscription)

    def close(self) -> None:
        if self._participant is None:
            return
        for end in list(self._ends):
            end()
        with self._lock:  # not while something is being published
            self._ends, self._topics, self._callers = [], {}, {}
            self._participant = self._subscriptions = None
            self._stack.close()

    def publisher(self, topic: str, kind: type[M], qos: QoS) -> Callable[[M], None]:
        from cyclonedds.pub import DataWriter

        writers = [DataWriter(self._participant, self._topic(topic, kind), policies(qos))]
        self._ends.append(writers.clear)

        def publish(message: M) -> None:
            if not isinstance(message, kind):
                raise TypeError(f"{topic} carries {kind.__name__}, not {type(message).__name__}")
            data = cdr.serialise(message)
            with self._lock:
                for writer in writers:
                    writer.write(idl(kind.ros).of(data))

        return publish

    def subscribe(
        self, topic: str, kind: type[M], heard: Callable[[M], None], qos: QoS
    ) -> Callable[[], None]:
        from cyclonedds.core import (
            GuardCondition,
            InstanceState,
            ReadCondition,
            SampleState,
            ViewState,
            WaitSet,
        )
        from cyclonedds.sub import DataReader
        from cyclonedds.util import duration

        reader = DataReader(self._participant, self._topic(topic, kind), policies(qos))
        arrived = ReadCondition(reader, SampleState.Any | ViewState.Any | InstanceState.Any)
        ended = GuardCondition(self._participant)
        waiting = WaitSet(self._participant)
        waiting.attach(arrived)
        waiting.attach(ended)
        forever = duration(infinite=True)
        receive = Receiver(lambda data: heard(cdr.deserialise(kind.ros, data)), topic)

        def listen() -> None:
            while not ended.read():
                waiting.wait(forever)
                for sample in reader.take(
                    1
                ):  # what waits, waits in the reader, as deep as QoS says
                    if ended.read() or not hasattr(sample, "data"):  # a writer that went away
                        continue
                    receive(sample.data)
            for entity in (waiting, arrived, reader):
                delete(entity)

        thread = threading.Thread(target=listen, daemon=True, name=f"{self.name} {topic}")
        thread.start()

        def end() -> None:
            if end in self._ends:
                self._ends.remove(end)
                ended.set(True)
                if threading.current_thread() is not thread:
                    thread.join()

        self._ends.append(end)
        return end

    def serve(self, name: str, handler: Callable[[], Answer]) -> None:
        trigger.serve(self, name, handler)

    def call(self, name: str, timeout_s: float = 5.0) -> Answer:
        if name not in self._callers:
            self._callers[name] = trigger.Caller(self, name)
        return self._callers[name].call(timeout_s)

    def listeners(self, topic: str) -> int:
        from cyclonedds.core import InstanceState

        wanted = wire_name(self._full(topic))
        return sum(
            found.topic_name == wanted and found.sample_info.instance_state == InstanceState.Alive
            for found in self._subscriptions.read(10_000)
        )

    def _topic(self, topic: str, kind: type[Any]) -> Any:
        from cyclonedds.topic import Topic

        name = wire_name(self._full(topic))
        if name not in self._topics:
            self._topics[name] = Topic(self._participant, name, idl(kind.ros))
        return self._topics[name]

    def _full(self, name: str) -> str:
        return full_name(name, self.name, self.namespace)


def chosen_domain() -> int:
    chosen = os.environ.get("ROS_DOMAIN_ID") or "0"
    if not chosen.isdecimal() or int(chosen) > 232:
        raise UserError(f"ROS_DOMAIN_ID is {chosen!r}, expected a number from 0 to 232.")
    return int(chosen)


def wire_name(topic: str) -> str:
    return f"rt{topic}"


_domains: dict[int, tuple[Any, int]] = {}  # with how many participants
_domains_lock = threading.Lock()


@contextlib.contextmanager
def participant(domain: int) -> Iterator[Any]:
    """In a domain with our settings, which a process can give it once."""
    from cyclonedds.domain import Domain, DomainParticipant

    own = not os.environ.get("CYCLONEDDS_URI")
    with _domains_lock:
        made, users = _domains.get(domain, (None, 0))
        if own:
            _domains[domain] = (made or Domain(domain, settings()), users + 1)
    member = DomainParticipant(domain)
    try:
        yield member
    finally:
        delete(member)
        with _domains_lock:
            if own:
                made, users = _domains.pop(domain)
                if users > 1:
                    _domains[domain] = (made, users - 1)


def delete(entity: Any) -> None:
    """With all that is in it, and now rather than when Python forgets it: others see it until then."""
    entity.__del__()


def settings() -> str:
    local = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "LOCALHOST"
    return SETTINGS.format(
        interfaces=LOOPBACK if local else NETWORK + LOOPBACK,
        multicast="<AllowMulticast>false</AllowMulticast>" if local else "",
        discovery=HERE,
    )


def policies(qos: QoS) -> Any:
    from cyclonedds.core import Policy, Qos
    from cyclonedds.util import duration

    return Qos(
        Policy.Reliability.BestEffort
        if qos is QoS.SENSOR
        else Policy.Reliability.Reliable(duration(seconds=1)),
        Policy.Durability.TransientLocal if qos is QoS.LATCHED else Policy.Durability.Volatile,
        Policy.History.KeepLast(qos.depth),
        Policy.DataRepresentation(use_cdrv0_representation=True),
    )


@functools.cache
def idl(name: str) -> Any:
    """Cyclone's class for a ROS 2 type, whose instances hold the bytes as they are on the wire."""
    from cyclonedds import idl as cyclone

    types: Any = cyclone.types

    def field(of: Any) -> Any:
        node, about = of[0].name, of[1]
        if node == "BASE":
            return {"string": str, "bool": bool}.get(about[0]) or getattr(types, about[0])
        if node == "NAME":
            return idl(about)
        if node == "SEQUENCE":
            return types.sequence[field(about[0])]
        return types.array[field(about[0]), about[1]]

    package, _, kind = name.split("/")
    _, fields = cdr.store().fielddefs[name]
    struct: Any = cyclone.make_idl_struct(
        kind,
        f"{package}.msg.dds_.{kind}_",
        {key: field(of) for key, of in fields},
        dataclassify=False,
    )

    def of(cls: Any, data: bytes | memoryview, **_: Any) -> Any:
        sample = cls.__new__(cls)
        sample.data = bytes(data)
        return sample

    struct.of = struct.deserialize = classmethod(of)
    struct.deserialize_key = classmethod(lambda *_: None)  # told that a writer went: no data
    struct.serialize = lambda sample, **_: sample.data
    return struct
