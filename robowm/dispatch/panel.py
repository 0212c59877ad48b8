"""The dispatcher's own topics and services, for an operator's panel on any machine.

``~/status`` (JSON, twice a second), ``~/plan`` (JSON of the card that is offered, latched), ``~/approve``
and ``~/reject`` (std_msgs/String: the plan's id), and the services ``~/estop`` and ``~/reset``
(std_srvs/Trigger). A Trigger carries no id, so approval is a message.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable

from robowm.dispatch.approvals import Card
from robowm.dispatch.dispatcher import Dispatcher
from robowm.dispatch.records import plain
from robowm.dispatch.wire.messages import Text
from robowm.dispatch.wire.protocol import Answer, Link, QoS

logger = logging.getLogger(__name__)
STATUS_S = 0.5


class Panel:
    """Over an open ``link``, until :meth:`close`."""

    def __init__(self, link: Link, dispatcher: Dispatcher):
        self._dispatcher, approvals = dispatcher, dispatcher.approvals
        self._tell_status = link.publisher("~/status", Text, QoS.STATUS)
        self._tell_plan = link.publisher("~/plan", Text, QoS.LATCHED)
        self._ends = [
            link.subscribe(f"~/{name}", Text, _answering(name, answer), QoS.STATUS)
            for name, answer in (("approve", approvals.approve), ("reject", approvals.reject))
        ]
        link.serve("~/estop", self._estop)
        link.serve("~/reset", self._reset)
        approvals.viewers.append(self.show)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="panel")
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        for end in self._ends:
            end()

    def show(self, card: Card) -> None:
        """A card that is offered."""
        self._tell_plan(Text(json.dumps(card.to_dict())))

    def _estop(self) -> Answer:
        self._dispatcher.estop()
        return True, "stopped, until it is reset"

    def _reset(self) -> Answer:
        self._dispatcher.reset()
        return True, "it goes on where nothing is amiss"

    def _run(self) -> None:
        while not self._over.wait(STATUS_S):
            self._tell_status(Text(json.dumps(plain(self._dispatcher.status()))))


def _answering(name: str, answer: Callable[[str], Answer]) -> Callable[[Text], None]:
    def heard(message: Text) -> None:
        done, why = answer(message.data.strip())
        logger.log(logging.INFO if done else logging.WARNING, "%s: %s", name, why)

    return heard
