"""The bench around an arm that stands in for a real one: it lays episodes out, and judges them.

A real arm has none. Topics and services are those of :mod:`robowm.dispatch.bench.server`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from robowm.dispatch.wire.messages import Numbers, Text
from robowm.dispatch.wire.protocol import Link, QoS
from robowm.errors import UserError

POLL_S = 0.02
FOUND_S = 20.0  # that discovery may take
LAID_S = 10.0  # that an episode may take to be laid out


class Bench:
    """The bench that an open ``link`` reaches, in that link's namespace."""

    def __init__(self, link: Link):
        self._link = link
        self._changed = threading.Condition()
        self._state: Mapping[str, Any] = {}
        self._goal: np.ndarray | None = None
        self._lay = link.publisher("robowm/episode", Text, QoS.STATUS)
        link.subscribe("robowm/episode_state", Text, self._told_state, QoS.LATCHED)
        link.subscribe("robowm/goal", Numbers, self._told_goal, QoS.LATCHED)

    @property
    def goal(self) -> np.ndarray | None:
        """[G] of the episode that is laid out; None before anything was told."""
        return self._goal

    @property
    def over(self) -> bool:
        """Whether the episode has been judged."""
        return self._state.get("state") == "over"

    @property
    def time_limit_s(self) -> float:
        return float(self._state["time_limit_s"])

    def begin(self, seed: int, split: str, push: str = "none") -> None:
        """Lay an episode out and wait until that is done; raises UserError where nobody does it."""
        deadline = time.monotonic() + FOUND_S
        while not (self._link.listeners("robowm/episode") and self._state):
            if time.monotonic() > deadline:
                raise UserError(
                    "nobody lays episodes out at robowm/episode: start scripts/arm_server.py, or "
                    "leave `episodes` away with a real arm."
                )
            time.sleep(POLL_S)
        before = self._state["number"]
        self._lay(Text(json.dumps({"seed": seed, "split": split, "push": push})))
        with self._changed:
            laid = self._changed.wait_for(
                lambda: self._state["number"] != before and self._state["seed"] == seed, LAID_S
            )
        if not laid:
            raise UserError(
                f"episode {seed} of split {split!r}, push {push!r}, was not laid out within {LAID_S:.0f} s: "
                "the arm server says why."
            )

    def finish(self) -> Mapping[str, float | None]:
        """Judge the episode, if it has not been; its metrics."""
        done, said = self._link.call("robowm/finish", 5.0)
        if not done:
            raise UserError(f"the episode was not judged: {said}.")
        result: Mapping[str, float | None] = json.loads(said)["result"]
        return result

    def _told_state(self, sent: Text) -> None:
        with self._changed:
            self._state = json.loads(sent.data)
            self._changed.notify_all()

    def _told_goal(self, sent: Numbers) -> None:
        self._goal = sent.data
