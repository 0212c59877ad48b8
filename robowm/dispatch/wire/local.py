"""A link inside one process: for tests, and for an arm and its commander in one program."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import Any

from robowm.dispatch.wire.mailbox import Mailbox
from robowm.dispatch.wire.messages import Message
from robowm.dispatch.wire.protocol import Answer, M, QoS, full_name
from robowm.dispatch.wire.trigger import within


class Bus:
    """What the links of one process share."""

    def __init__(self) -> None:
        self.heard: dict[str, list[Mailbox]] = collections.defaultdict(list)
        self.last: dict[str, Message] = {}
        self.services: dict[str, Callable[[], Answer]] = {}
        self.lock = threading.Lock()


BUS = Bus()


class LocalLink:
    """A node called ``name`` on a bus; each subscription has a thread."""

    def __init__(self, name: str = "robowm", namespace: str = "", bus: Bus = BUS):
        self.name, self.namespace, self._bus = name, namespace, bus
        self._ends: list[Callable[[], Any]] = []
        self._open = False

    def open(self) -> None:
        self._open = True

    def close(self) -> None:
        self._open = False
        for end in self._ends:
            end()
        self._ends = []

    def publisher(self, topic: str, kind: type[M], qos: QoS) -> Callable[[M], None]:
        topic = self._full(topic)
        if qos is QoS.LATCHED:  # told to who comes late for as long as the publisher is there
            self._ends.append(lambda: self._bus.last.pop(topic, None))

        def publish(message: M) -> None:
            if not isinstance(message, kind):
                raise TypeError(f"{topic} carries {kind.__name__}, not {type(message).__name__}")
            with self._bus.lock:
                if not self._open:
                    return
                if qos is QoS.LATCHED:
                    self._bus.last[topic] = message
                for box in self._bus.heard[topic]:
                    box.put(message)

        return publish

    def subscribe(
        self, topic: str, kind: type[M], heard: Callable[[M], None], qos: QoS
    ) -> Callable[[], None]:
        topic = self._full(topic)
        box = Mailbox(heard, qos.depth, f"{self.name} {topic}")
        with self._bus.lock:
            self._bus.heard[topic].append(box)
            if qos is QoS.LATCHED and topic in self._bus.last:
                box.put(self._bus.last[topic])

        def end() -> None:
            with self._bus.lock:
                if box in self._bus.heard[topic]:
                    self._bus.heard[topic].remove(box)
            box.close()

        self._ends.append(end)
        return end

    def serve(self, name: str, handler: Callable[[], Answer]) -> None:
        name = self._full(name)
        self._bus.services[name] = handler
        self._ends.append(lambda: self._bus.services.pop(name, None))

    def call(self, name: str, timeout_s: float = 5.0) -> Answer:
        handler = self._bus.services.get(self._full(name))
        return within(timeout_s, handler, name) if handler else (False, f"nobody serves {name}")

    def listeners(self, topic: str) -> int:
        with self._bus.lock:
            return len(self._bus.heard[self._full(topic)])

    def _full(self, name: str) -> str:
        return full_name(name, self.name, self.namespace)
