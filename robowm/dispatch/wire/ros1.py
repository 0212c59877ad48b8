"""ROS 1 (Noetic) through its own Python client, rospy.

rospy allows one node a process, for as long as the process lives: the first link to open names it, and
those that follow share it. Every link closes what it opened itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from robowm.dispatch.wire import trigger
from robowm.dispatch.wire.mailbox import Mailbox
from robowm.dispatch.wire.messages import fill, read
from robowm.dispatch.wire.protocol import Answer, M, QoS, full_name
from robowm.dispatch.wire.ros2 import message_class
from robowm.errors import UserError

POLL_S = 0.02
BUFFER_BYTES = 1 << 24  # more than a picture, or a busy subscriber is told of old ones first


class Ros1Link:
    """The node of this process. The master is found by ROS_MASTER_URI."""

    def __init__(self, name: str = "robowm", namespace: str = ""):
        self.name, self.namespace = name, namespace
        self._ends: list[Callable[[], None]] = []
        self._publishers: dict[str, Any] = {}
        self._open = False

    def open(self) -> None:
        try:
            import rosgraph
            import rospy
        except ImportError as error:
            raise UserError(
                f"rospy cannot be imported ({error}): `make ros-1` installs Debian's and makes an "
                "environment that sees it; elsewhere source setup.bash of a ROS 1 installation."
            ) from error
        if not rosgraph.is_master_online():
            raise UserError(
                f"no ROS master answers at {rosgraph.get_master_uri()}: start roscore, or set "
                "ROS_MASTER_URI to where it runs."
            )
        if not rospy.core.is_initialized():
            # Signals are Python's own, so that Ctrl-C still ends the program.
            rospy.init_node(self.name, disable_signals=True, disable_rosout=True)
        self._rospy, self._open = rospy, True

    def close(self) -> None:
        self._open = False
        for end in reversed(self._ends):
            end()
        self._ends, self._publishers = [], {}

    def publisher(self, topic: str, kind: type[M], qos: QoS) -> Callable[[M], None]:
        publisher = self._rospy.Publisher(
            self._full(topic),
            message_class(kind.ros),
            queue_size=qos.depth,
            latch=qos is QoS.LATCHED,
            tcp_nodelay=True,
        )
        self._ends.append(publisher.unregister)
        self._publishers[self._full(topic)] = publisher

        def publish(message: M) -> None:
            if not isinstance(message, kind):
                raise TypeError(f"{topic} carries {kind.__name__}, not {type(message).__name__}")
            if not self._open:
                return
            try:
                publisher.publish(fill(message, make, octets=bytes))
            except self._rospy.ROSException:
                if self._open:  # else it was closed in the meantime
                    raise

        return publish

    def subscribe(
        self, topic: str, kind: type[M], heard: Callable[[M], None], qos: QoS
    ) -> Callable[[], None]:
        topic = self._full(topic)
        # rospy has a thread for each publisher; the mailbox makes them one.
        box = Mailbox(lambda sent: heard(read(kind, sent)), qos.depth, f"{self.name} {topic}")
        subscriber = self._rospy.Subscriber(
            topic,
            message_class(kind.ros),
            box.put,
            queue_size=qos.depth,
            buff_size=BUFFER_BYTES,
            tcp_nodelay=True,
        )

        def end() -> None:
            if end in self._ends:
                self._ends.remove(end)
                subscriber.unregister()
                box.close()

        self._ends.append(end)
        return end

    def serve(self, name: str, handler: Callable[[], Answer]) -> None:
        from std_srvs.srv import Trigger

        service = self._rospy.Service(
            self._full(name), Trigger, lambda _: trigger.answer_of(handler, name)
        )
        self._ends.append(lambda: service.shutdown("closed"))

    def call(self, name: str, timeout_s: float = 5.0) -> Answer:
        from std_srvs.srv import Trigger

        deadline = time.monotonic() + timeout_s
        while not self._served(name):
            if time.monotonic() > deadline:
                return False, f"nobody serves {name}"
            time.sleep(POLL_S)

        def ask() -> Answer:
            answer = self._rospy.ServiceProxy(self._full(name), Trigger)()
            return answer.success, answer.message

        return trigger.within(max(0.0, deadline - time.monotonic()), ask, name)

    def listeners(self, topic: str) -> int:
        import rosgraph

        if publisher := self._publishers.get(self._full(topic)):
            return publisher.get_num_connections()  # the master knows of them before they listen
        with contextlib.suppress(rosgraph.MasterException, OSError):
            _, subscribers, _ = rosgraph.Master(self.name).getSystemState()
            return len(dict(subscribers).get(self._full(topic), []))
        return 0

    def _served(self, name: str) -> bool:
        import rosgraph

        with contextlib.suppress(rosgraph.MasterException, OSError):
            rosgraph.Master(self.name).lookupService(self._full(name))
            return True
        return False

    def _full(self, name: str) -> str:
        return full_name(name, self.name, self.namespace)


def make(name: str, /, **fields: Any) -> Any:
    if name.startswith("builtin_interfaces/"):  # times are a part of ROS 1's message format
        import genpy

        return getattr(genpy, name.rpartition("/")[2])(fields["sec"], fields["nanosec"])
    return message_class(name)(**fields)
