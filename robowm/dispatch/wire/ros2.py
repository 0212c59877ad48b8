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
from robowm.dispatch.wire.mailbox import Receiver
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
        self._listeners: list[Listener] = []
        self._clients: dict[str, Any] = {}
        self._callers: dict[str, trigger.Caller] = {}
        self._spinning: list[tuple[Any, Any, threading.Thread]] = []  # node, executor, its thread
        self._node: Any = None
        self._services: Any = None

    def open(self) -> None:
        try:
            import rclpy
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
        if self._make_node is None:
            self._node = self._plain(self.name)
            return
        self.node = self._make_node(self.name, namespace=self.namespace, context=self._context)
        self.name, self.namespace = self.node.get_name(), self.node.get_namespace()
        self._services = self._join(self.node)
        self._node = self._plain(f"{self.name}_topics")

    def close(self) -> None:
        if self._node is None:
            return
        node, self._node = self._node, None
        for node_, executor, thread in self._spinning:
            executor.shutdown()
            thread.join()
            node_.destroy_node()
        for listener in self._listeners:
            listener.close()
        node.destroy_node()
        self._context.try_shutdown()
        self._services = None
        self._spinning, self._listeners, self._clients, self._callers = [], [], {}, {}

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
        subscription = self._node.create_subscription(
            message_class(kind.ros), topic, lambda _: None, profile(qos)
        )
        hear = Receiver(lambda sent: heard(read(kind, sent)), f"{self.name} {topic}")
        listener = Listener(self._context, subscription, hear)
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)
                listener.close()
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
            self._services = self._join(self._plain(f"{self.name}_services"))
        return self._services

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

    def _join(self, node: Any) -> Any:
        """The node, served by an executor on a thread of its own."""
        from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor

        executor = MultiThreadedExecutor(THREADS, context=self._context)
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


class Listener:
    """A thread that waits for one subscription's messages, in C, and hears them where they come.

    As ``rclpy.wait_for_message`` waits. An executor would make a wait set of all that its node has for each
    message and hand it to another thread: three times as long.
    """

    def __init__(self, context: Any, subscription: Any, hear: Callable[[Any], None]):
        self._context, self._subscription, self._hear = context, subscription, hear
        self._over = False
        self._wake = rclpy_c().GuardCondition(context.handle)
        self._thread = threading.Thread(
            target=self._run, daemon=True, name=f"{subscription.topic_name} rclpy"
        )
        self._thread.start()

    def close(self) -> None:
        """Nothing is called back once this has returned, but for a call that closes its own listener."""
        self._over = True
        self._wake.trigger_guard_condition()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        subscription, wake = self._subscription, self._wake
        waiting = rclpy_c().WaitSet(1, 1, 0, 0, 0, 0, self._context.handle)
        with subscription.handle, wake, waiting:
            while not self._over:
                waiting.clear_entities()
                waiting.add_subscription(subscription.handle)
                waiting.add_guard_condition(wake)
                waiting.wait(-1)
                while not self._over:
                    taken = subscription.handle.take_message(subscription.msg_type, False)
                    if taken is None:
                        break
                    self._hear(taken[0])


def rclpy_c() -> Any:
    from rclpy.impl.implementation_singleton import rclpy_implementation

    return rclpy_implementation


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
