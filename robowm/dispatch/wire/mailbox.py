"""What lies between a middleware's threads and what is called back: a queue and a thread."""

from __future__ import annotations

import collections
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

QUIET_S = 1.0


class Receiver:
    """Calls ``heard``; what goes wrong is logged, once in a while, and drops that message alone.

    Args:
      name: of what is received.
    """

    def __init__(self, heard: Callable[[Any], None], name: str):
        self._heard, self._name = heard, name
        self._dropped, self._told_s = 0, -math.inf

    def __call__(self, message: Any) -> None:
        try:
            self._heard(message)
        except Exception:  # a message that cannot be read, or a fault of who hears it
            self._dropped += 1
            if time.monotonic() >= self._told_s + QUIET_S:
                logger.exception("%d message(s) of %s dropped", self._dropped, self._name)
                self._dropped, self._told_s = 0, time.monotonic()


class Mailbox:
    """Calls ``heard`` with each message that is put in, one at a time, on a thread of its own.

    Args:
      depth: how many may wait; where there are more, the oldest goes. None keeps all.
      name: of the thread.
    """

    def __init__(self, heard: Callable[[Any], None], depth: int | None, name: str):
        self._heard = Receiver(heard, name)
        self._waiting: collections.deque[Any] = collections.deque(maxlen=depth)
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)
        self._thread.start()

    def put(self, message: Any) -> None:
        with self._changed:
            self._waiting.append(message)
            self._changed.notify()

    def close(self) -> None:
        """Nothing is called back once this has returned, but for a call that closes its own mailbox."""
        with self._changed:
            self._open = False
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._open and not self._waiting:
                    self._changed.wait()
                if not self._open:
                    return
                message = self._waiting.popleft()
            self._heard(message)
