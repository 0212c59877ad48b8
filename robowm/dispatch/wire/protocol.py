"""What carries messages between programs, whatever the middleware."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Protocol, TypeVar

from robowm.dispatch.wire.messages import Message
from robowm.errors import UserError

M = TypeVar("M", bound=Message)
Answer = tuple[bool, str]  # success and message, as of std_srvs/Trigger


NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")


class QoS(enum.Enum):
    """``SENSOR`` newest matters, may be lost; ``COMMAND`` must arrive, the newest alone; ``STATUS`` must
    arrive, all of them; ``LATCHED`` as COMMAND, and who comes late is told the last."""

    SENSOR = "sensor"
    COMMAND = "command"
    STATUS = "status"
    LATCHED = "latched"

    @property
    def depth(self) -> int:
        """How many messages wait for a reader who is busy."""
        return {QoS.SENSOR: 5, QoS.STATUS: 1000}.get(self, 1)


def full_name(name: str, node: str, namespace: str = "") -> str:
    """A name as ROS resolves it: ``/plan`` is that, ``plan`` stands in the namespace and ``~/plan``
    below the node's own name. Raises UserError for what is no such name."""
    home = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    full = name
    if not name.startswith("/"):
        full = f"{home}/{node}/{name[2:]}" if name.startswith("~/") else f"{home}/{name}"
    if not NAME.fullmatch(full):
        raise UserError(
            f"{full!r} is no name of a topic or service: between slashes it may have letters, digits "
            "and underscores, and begins with no digit."
        )
    return full


class Link(Protocol):
    """A node of a middleware. Topics and services are named as ROS names them (:func:`full_name`).

    Callbacks come on threads of the link, one at a time for each subscription; they return soon.
    What is published on a link that is closed goes nowhere.

    Attributes:
      name: of the node.
    """

    name: str

    def open(self) -> None:
        """Join; raises UserError where the middleware is not installed, with the line that installs it."""
        ...

    def close(self) -> None:
        """Leave; nothing is called back afterwards. A second time does nothing."""
        ...

    def publisher(self, topic: str, kind: type[M], qos: QoS) -> Callable[[M], None]: ...

    def subscribe(
        self, topic: str, kind: type[M], heard: Callable[[M], None], qos: QoS
    ) -> Callable[[], None]:
        """Call ``heard`` with each message until the returned function is called.

        What cannot be read is logged and dropped.
        """
        ...

    def serve(self, name: str, handler: Callable[[], Answer]) -> None:
        """Answer a service of type std_srvs/Trigger."""
        ...

    def call(self, name: str, timeout_s: float = 5.0) -> Answer:
        """Ask a Trigger service; ``(False, why)`` where nobody answers in time."""
        ...

    def listeners(self, topic: str) -> int:
        """How many subscribe to a topic, as far as discovery has come."""
        ...
