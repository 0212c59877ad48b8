"""Services of type Trigger: answers in time, and services over two topics.

A ROS 2 service tells its callers apart by fields of the wire protocol that Cyclone DDS's Python
interface does not show. Where one end is :class:`~robowm.dispatch.wire.dds.DdsLink`, a service
``<name>`` is therefore two topics of std_msgs/String: ``<name>/request`` carries an id, and
``<name>/reply`` JSON of ``id``, ``success`` and ``message``. A request is repeated until it is answered
and acted on once.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable

from robowm.dispatch.wire.messages import Text
from robowm.dispatch.wire.protocol import Answer, Link, QoS

logger = logging.getLogger(__name__)

REPEAT_S = 0.1  # discovery may bring a request to its server before the way back is known
REMEMBERED = 64  # answers, to requests that may come again


def answer_of(handler: Callable[[], Answer], name: str) -> Answer:
    """What the handler answers; a failure of it is an answer too."""
    try:
        return handler()
    except Exception as error:
        logger.exception("service %s failed", name)
        return False, f"{name} failed: {error}"


def within(timeout_s: float, handler: Callable[[], Answer], name: str) -> Answer:
    """The handler's answer, or that there was none in time; it may go on afterwards."""
    answers: list[Answer] = []
    thread = threading.Thread(
        target=lambda: answers.append(answer_of(handler, name)), daemon=True, name=f"call {name}"
    )
    thread.start()
    thread.join(timeout_s)
    return answers[0] if answers else late(name, timeout_s)


def late(name: str, timeout_s: float) -> Answer:
    return False, f"{name} did not answer within {timeout_s:g} s"


def serve(link: Link, name: str, handler: Callable[[], Answer]) -> None:
    """Answer requests over the two topics until the link is closed."""
    reply = link.publisher(f"{name}/reply", Text, QoS.STATUS)
    answered: collections.OrderedDict[str, str] = collections.OrderedDict()

    def asked(request: Text) -> None:
        if request.data not in answered:
            success, message = answer_of(handler, name)
            answer = {"id": request.data, "success": success, "message": message}
            answered[request.data] = json.dumps(answer)
            if len(answered) > REMEMBERED:
                answered.popitem(last=False)
        reply(Text(answered[request.data]))

    link.subscribe(f"{name}/request", Text, asked, QoS.STATUS)


class Caller:
    """Asks one service over the two topics; kept, because discovery takes longer than the answer."""

    def __init__(self, link: Link, name: str):
        self._link, self._name = link, name
        self._answers: dict[str, Answer | None] = {}
        self._changed = threading.Condition()
        self._ask = link.publisher(f"{name}/request", Text, QoS.STATUS)
        link.subscribe(f"{name}/reply", Text, self._told, QoS.STATUS)

    def server_is_there(self) -> bool:
        return self._link.listeners(f"{self._name}/request") > 0

    def call(self, timeout_s: float) -> Answer:
        key, deadline = uuid.uuid4().hex, time.monotonic() + timeout_s
        with self._changed:
            self._answers[key] = None
            try:
                while (left_s := deadline - time.monotonic()) > 0:
                    self._ask(Text(key))
                    self._changed.wait_for(
                        lambda: self._answers[key] is not None, min(left_s, REPEAT_S)
                    )
                    if (answer := self._answers[key]) is not None:
                        return answer
            finally:
                del self._answers[key]
        if not self.server_is_there():
            return False, f"nobody serves {self._name}"
        return late(self._name, timeout_s)

    def _told(self, reply: Text) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # not from a server of ours
            said = json.loads(reply.data)
            answer = bool(said["success"]), str(said["message"])
            with self._changed:
                if said["id"] in self._answers:
                    self._answers[said["id"]] = answer
                    self._changed.notify_all()
