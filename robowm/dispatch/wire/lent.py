"""A link that is lent: whoever uses it may leave without ending it for the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robowm.dispatch.wire.protocol import Answer, Link, M, QoS


class LentLink:
    """An open link that stays open. :meth:`close` ends the subscriptions that were made through this."""

    def __init__(self, link: Link):
        self.name, self._link = link.name, link
        self._ends: list[Callable[[], None]] = []
        self._publishers: dict[str, Callable[[Any], None]] = {}  # kept for who comes again

    def open(self) -> None:
        pass

    def close(self) -> None:
        for end in self._ends:
            end()
        self._ends = []

    def publisher(self, topic: str, kind: type[M], qos: QoS) -> Callable[[M], None]:
        if topic not in self._publishers:
            self._publishers[topic] = self._link.publisher(topic, kind, qos)
        return self._publishers[topic]

    def subscribe(
        self, topic: str, kind: type[M], heard: Callable[[M], None], qos: QoS
    ) -> Callable[[], None]:
        end = self._link.subscribe(topic, kind, heard, qos)
        self._ends.append(end)
        return end

    def serve(self, name: str, handler: Callable[[], Answer]) -> None:
        self._link.serve(name, handler)

    def call(self, name: str, timeout_s: float = 5.0) -> Answer:
        return self._link.call(name, timeout_s)

    def listeners(self, topic: str) -> int:
        return self._link.listeners(topic)
