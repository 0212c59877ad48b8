"""ROS 2 through its own Python client, rclpy; tried with Kilted and Jazzy.

Services are ROS 2's, and beside them two topics for callers without ROS (see
:mod:`robowm.dispatch.wire.trigger`). They have a node of their own, ``<name>_services``: rclpy's executor
of several threads, which a handler that itself calls needs, now and then delays messages by 300 ms.
"""

from __future__ import annotations

import array
import contextlib
import functools
import importlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from robowm.dispatch.wire import trigger
from robowm.dispatch.wire.mailbox import Mailbox
from robowm.dispatch.wire.messages import fill, read
from robowm.dispatch.wire.protocol import Answer, M, QoS, full_name
from robowm.errors import UserError

POLL_S = 0.005
THREADS = 4  # for services that are under way at once


class Ros2Link:
    """A node with a context of its own, so that a process can have several.

    Args:
      domain: None leaves it to ROS_DOMAIN_ID.
      arguments: ROS's own of the command line, ``--ros-args`` first: remappings and parameters.
      make_node: makes the node that bears the name and serves, such as a lifecycle node, of the
        arguments of ``rclpy.node.Node``; messages then have a node beside it, ``<name>_topics``.

    Attributes:
      node: what ``make_node`` made.
    """

    def __init__(
        self,
        name: str = "robowm",
        namespace: str = "",
        domain: int | None = None,
        arguments: Sequence[str] = (),
        make_node: Callable[..., Any] | None = None,
    ):
        self.name, self.namespace, self._domain = name, namespace, domain
        self._arguments, self._make_node = list(arguments), make_node
        self.node: Any = None
        self._boxes: list[Mailbox] = []
        self._clients: dict[str, Any] = {}
        self._callers: dict[str, trigger.Caller] = {}
        self._spinning: list[tuple[Any, Any, threading.Thread]] = []  # node, executor, its thread
        self._node: Any = None
        self._services: Any = None

    def open(self) -> None:
        try:
            import rclpy
            from rclpy.executors import SingleThreadedExecutor
            from rclpy.signals import SignalHandlerOptions
        except ImportError as error:
            raise UserError(
                f"rclpy cannot be imported ({error}): run in the environment that `make ros-kilted` "
                "or `make ros-jazzy` makes, or source setup.bash of a ROS 2 installation."
            ) from error
        self._context = rclpy.Context()
        rclpy.init(
            args=self._arguments,
            context=self._context,
            domain_id=self._domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        single = SingleThreadedExecutor(context=self._context)
        if self._make_node is None:
            self._node = self._join(self._plain(self.name), single)
            return
        self.node = self._make_node(self.name, namespace=self.namespace, context=self._context)
        self.name, self.namespace = self.node.get_name(), self.node.get_namespace()
        self._services = self._join(self.node, self._several())
        self._node = self._join(self._plain(f"{self.name}_topics"), single)

    def close(self) -> None:
        if self._node is None:
            return
        self._node = None
        for node, executor, thread in self._spinning:
            executor.shutdown()
            thread.join()
            node.destroy_node()
        for box in self._boxes:
            box.close()
        self._context.try_shutdown()
        self._services = None
        self._spinning, self._boxes, self._clients, self._callers = [], [], {}, {}

    def publisher(self, topic: str, kind: type[M], qos: QoS) -> Callable[[M], None]:
        publisher = self._node.create_publisher(
            message_class(kind.ros), self._full(topic), profile(qos)
        )

        def publish(message: M) -> None:
            if not isinstance(message, kind):
                raise TypeError(f"{topic} carries {kind.__name__}, not {type(message).__name__}")
            if self._node is None:
                return
            try:
                publisher.publish(fill(message, make, octets=octets))
            except Exception:
                if self._node is not None:  # else it was closed in the meantime
                    raise

        return publish

    def subscribe(
        self, topic: str, kind: type[M], heard: Callable[[M], None], qos: QoS
    ) -> Callable[[], None]:
        topic = self._full(topic)
        box = Mailbox(lambda sent: heard(read(kind, sent)), qos.depth, f"{self.name} {topic}")
        self._boxes.append(box)
        subscription = self._node.create_subscription(
            message_class(kind.ros), topic, box.put, profile(qos)
        )

        def end() -> None:
            if box in self._boxes:
                self._boxes.remove(box)
                box.close()
                if self._node is not None:
                    self._node.destroy_subscription(subscription)

        return end

    def serve(self, name: str, handler: Callable[[], Answer]) -> None:
        from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
        from std_srvs.srv import Trigger

        def answer(_: Any, response: Any) -> Any:
            response.success, response.message = trigger.answer_of(handler, name)
            return response

        group = MutuallyExclusiveCallbackGroup()
        self._service_node().create_service(Trigger, self._full(name), answer, callback_group=group)
        trigger.serve(self, name, handler)

    def call(self, name: str, timeout_s: float = 5.0) -> Answer:
        from std_srvs.srv import Trigger

        deadline = time.monotonic() + timeout_s
        if name not in self._clients:
            self._clients[name] = self._service_node().create_client(Trigger, self._full(name))
            self._callers[name] = trigger.Caller(self, name)
        client, caller = self._clients[name], self._callers[name]
        while not client.service_is_ready():
            if caller.server_is_there():  # a server without ROS, or one whose service follows
                return caller.call(max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                return False, f"nobody serves {name}"
            time.sleep(POLL_S)
        answered = threading.Event()
        future = client.call_async(Trigger.Request())
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(max(0.0, deadline - time.monotonic())):
            client.remove_pending_request(future)
            return trigger.late(name, timeout_s)
        return future.result().success, future.result().message

    def listeners(self, topic: str) -> int:
        return self._node.count_subscribers(self._full(topic))

    def _service_node(self) -> Any:
        if self._services is None:
            self._services = self._join(self._plain(f"{self.name}_services"), self._several())
        return self._services

    def _several(self) -> Any:
        from rclpy.executors import MultiThreadedExecutor

        return MultiThreadedExecutor(THREADS, context=self._context)

    def _plain(self, name: str) -> Any:
        """A node with this link's remappings, but for those that would name it."""
        import rclpy

        return rclpy.create_node(
            name,
            namespace=self.namespace,
            context=self._context,
            use_global_arguments=False,
            cli_args=remappings(self._arguments, self.name, self.namespace),
            enable_rosout=False,
            start_parameter_services=False,
        )

    def _join(self, node: Any, executor: Any) -> Any:
        """The node, served by the executor on a thread of its own."""
        from rclpy.executors import ExternalShutdownException

        executor.add_node(node)

        def spin() -> None:
            with contextlib.suppress(ExternalShutdownException):
                executor.spin()

        thread = threading.Thread(target=spin, daemon=True, name=f"{node.get_name()} rclpy")
        thread.start()
        self._spinning.append((node, executor, thread))
        return node

    def _full(self, name: str) -> str:
        return full_name(name, self.name, self.namespace)


def remappings(arguments: Sequence[str], node: str, namespace: str) -> list[str]:
    """Of ``arguments``, those of topics and services, as another node than ``node`` must be told them."""
    found = ["--ros-args"]
    for flag, rule in itertools.pairwise(arguments):
        if flag not in ("-r", "--remap"):
            continue
        before, _, after = rule.partition(":=")
        before = before.removeprefix(f"{node}:")
        if before not in ("__node", "__name", "__ns") and ":" not in before:
            found += ["-r", f"{full_name(before, node, namespace)}:={after}"]
    return found if len(found) > 1 else []


def profile(qos: QoS) -> Any:
    from rclpy import qos as ros

    sensor, latched = qos is QoS.SENSOR, qos is QoS.LATCHED
    best, reliable = ros.ReliabilityPolicy.BEST_EFFORT, ros.ReliabilityPolicy.RELIABLE
    local, volatile = ros.DurabilityPolicy.TRANSIENT_LOCAL, ros.DurabilityPolicy.VOLATILE
    return ros.QoSProfile(
        depth=qos.depth,
        reliability=best if sensor else reliable,
        durability=local if latched else volatile,
    )


@functools.cache
def message_class(name: str) -> type:
    """Of ``package/msg/Type``; ROS 1 has the same modules."""
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


def make(name: str, /, **fields: Any) -> Any:
    return message_class(name)(**fields)


def octets(data: bytes) -> array.array[int]:
    """What rclpy takes as it is; it would look at each byte of anything else."""
    return array.array("B", data)
