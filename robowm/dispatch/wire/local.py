"""A link inside one process: for tests, and for an arm and its commander in one program."""

from __future__ import annotations

import collections
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from robowm.dispatch.wire.messages import Message
from robowm.dispatch.wire.protocol import Answer, QoS

logger = logging.getLogger(__name__)


class Bus:
    """What the links of one process share."""

    def __init__(self) -> None:
        self.heard: dict[str, list[queue.Queue[Any]]] = collections.defaultdict(list)
        self.last: dict[str, Message] = {}
        self.services: dict[str, Callable[[], Answer]] = {}
        self.lock = threading.Lock()


BUS = Bus()


class LocalLink:
    """A node called ``name`` on a bus; each subscription has a thread."""

    def __init__(self, name: str = "robowm", bus: Bus = BUS):
        self.name, self._bus = name, bus
        self._ends: list[Callable[[], None]] = []
        self._served: list[str] = []

    def open(self) -> None:
        pass

    def close(self) -> None:
        for end in self._ends:
            end()
        for name in self._served:
            self._bus.services.pop(name, None)
        self._ends, self._served = [], []

    def publisher(self, topic: str, kind: type[Message], qos: QoS) -> Callable[[Message], None]:
        topic = self._full(topic)

        def publish(message: Message) -> None:
            if not isinstance(message, kind):
                raise TypeError(f"{topic} carries {kind.__name__}, not {type(message).__name__}")
            with self._bus.lock:
                if qos is QoS.LATCHED:
                    self._bus.last[topic] = message
                for box in self._bus.heard[topic]:
                    if qos is QoS.COMMAND:  # the newest alone
                        with contextlib.suppress(queue.Empty):
                            box.get_nowait()
                    box.put(message)

        return publish

    def subscribe(
        self, topic: str, kind: type[Message], heard: Callable[[Any], None], qos: QoS
    ) -> Callable[[], None]:
        topic, box = self._full(topic), queue.Queue[Any]()
        with self._bus.lock:
            self._bus.heard[topic].append(box)
            if qos is QoS.LATCHED and topic in self._bus.last:
                box.put(self._bus.last[topic])

        def listen() -> None:
            while (message := box.get()) is not None:
                try:
                    heard(message)
                except Exception:
                    logger.exception("a message of %s was dropped", topic)

        thread = threading.Thread(target=listen, daemon=True, name=f"{self.name} {topic}")
        thread.start()

        def end() -> None:
            with self._bus.lock:
                if box in self._bus.heard[topic]:
                    self._bus.heard[topic].remove(box)
            box.put(None)
            if threading.current_thread() is not thread:
                thread.join(1.0)

        self._ends.append(end)
        return end

    def serve(self, name: str, handler: Callable[[], Answer]) -> None:
        self._bus.services[self._full(name)] = handler
        self._served.append(self._full(name))

    def call(self, name: str, timeout_s: float = 5.0) -> Answer:
        handler = self._bus.services.get(self._full(name))
        return handler() if handler else (False, f"nobody serves {name}")

    def listeners(self, topic: str) -> int:
        return len(self._bus.heard[self._full(topic)])

    def _full(self, name: str) -> str:
        return f"/{self.name}/{name[2:]}" if name.startswith("~/") else name
