"""A link that loses, delays, repeats and reorders what is commanded, as a bad network does."""

from __future__ import annotations

import collections
import dataclasses
import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from robowm.dispatch.wire.protocol import Answer, Link, M, QoS
from robowm.errors import UserError


@dataclasses.dataclass
class WireFaultsConfig:
    """Probabilities are of each message of a topic with commands.

    Attributes:
      drop: it does not arrive.
      delay_s: it arrives so much later; every one of them.
      duplicate: it arrives a second time, up to ``again_s`` later.
      reorder: it arrives after those of the next ``again_s``.
      again_s: see above.
      seed: of all these.
    """

    drop: float = 0.0
    delay_s: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    again_s: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("drop", "duplicate", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"faults.{name} is {getattr(self, name)}, expected from 0 to 1.")
        if not (self.delay_s >= 0 and self.again_s > 0):
            raise UserError(
                f"faults.delay_s is {self.delay_s} and again_s {self.again_s}: expected 0 or more, and "
                "above 0."
            )


class FaultyLink:
    """A link around another; nothing but :attr:`QoS.COMMAND` topics suffers.

    Attributes:
      counts: of what was done, by the fault's name.
    """

    def __init__(self, config: WireFaultsConfig, link: Link):
        self.config, self.name, self._link = config, link.name, link
        self.counts: collections.Counter[str] = collections.Counter()
        self._random = random.Random(config.seed)
        self._number = itertools.count()
        self._late: list[
            tuple[float, int, Callable[[], None]]
        ] = []  # due, number, what is to be done
        self._changed = threading.Condition()
        self._ended = False
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        self._link.open()
        self._ended = False
        self._thread = threading.Thread(target=self._deliver, daemon=True, name="faulty link")
        self._thread.start()

    def close(self) -> None:
        """What is still under way is lost."""
        with self._changed:
            self._ended, self._late = True, []
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._link.close()

    def publisher(self, topic: str, kind: type[M], qos: QoS) -> Callable[[M], None]:
        publish = self._link.publisher(topic, kind, qos)
        if qos is not QoS.COMMAND:
            return publish

        def spoiled(message: M) -> None:
            config = self.config
            # Each is drawn each time, so that one probability leaves the others' draws alone.
            drop, again, later = (
                self._happens(fault) for fault in ("drop", "duplicate", "reorder")
            )
            if drop:
                return
            if again:
                self._send(
                    publish, message, config.delay_s + self._random.random() * config.again_s
                )
            self._send(publish, message, config.delay_s + (config.again_s if later else 0.0))

        return spoiled

    def subscribe(
        self, topic: str, kind: type[M], heard: Callable[[M], None], qos: QoS
    ) -> Callable[[], None]:
        return self._link.subscribe(topic, kind, heard, qos)

    def serve(self, name: str, handler: Callable[[], Answer]) -> None:
        self._link.serve(name, handler)

    def call(self, name: str, timeout_s: float = 5.0) -> Answer:
        return self._link.call(name, timeout_s)

    def listeners(self, topic: str) -> int:
        return self._link.listeners(topic)

    def _happens(self, fault: str) -> bool:
        happens = self._random.random() < getattr(self.config, fault)
        self.counts[fault] += happens
        return happens

    def _send(self, publish: Callable[[Any], None], message: Any, after_s: float) -> None:
        if after_s <= 0:
            publish(message)
            return
        with self._changed:
            due_s = time.monotonic() + after_s
            heapq.heappush(self._late, (due_s, next(self._number), lambda: publish(message)))
            self._changed.notify()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                while not self._ended and not self._late:
                    self._changed.wait()
                if self._ended:
                    return
                left_s = self._late[0][0] - time.monotonic()
                if left_s > 0:
                    self._changed.wait(left_s)
                    continue
                _, _, publish = heapq.heappop(self._late)
            publish()
