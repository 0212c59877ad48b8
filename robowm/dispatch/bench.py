"""The bench that a simulated arm stands on, from the side of who commands it: episodes and their results.

See :class:`robowm.dispatch.server.ArmServer`; a real arm has none.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from robowm.dispatch.wire.messages import Text
from robowm.dispatch.wire.protocol import Link, QoS
from robowm.errors import UserError


class Bench:
    """Over an open ``link``.

    Attributes:
      state: what was last told of the episode; empty before that.
    """

    def __init__(self, link: Link):
        self._link = link
        self.state: dict[str, Any] = {}
        self._constraints: dict[str, Any] = {}
        self._ask = link.publisher("robowm/episode", Text, QoS.STATUS)
        link.subscribe("robowm/episode_state", Text, self._hear_state, QoS.LATCHED)
        link.subscribe("robowm/constraints", Text, self._hear_constraints, QoS.LATCHED)

    @property
    def over(self) -> bool:
        return self.state.get("state") == "over"

    @property
    def constraints(self) -> dict[str, np.ndarray]:
        """Of this episode's task."""
        return {name: np.asarray(value) for name, value in self._constraints.items()}

    def begin(self, seed: int, split: str, timeout_s: float = 20.0) -> None:
        """Have an episode laid out; raises UserError where none is in time."""
        deadline_s = time.monotonic() + timeout_s
        while not self._link.listeners("robowm/episode"):
            if time.monotonic() > deadline_s:
                raise UserError(
                    "no simulated arm listens on robowm/episode: start scripts/arm_server.py, or leave "
                    "seed=null for an arm that has no episodes."
                )
            time.sleep(0.02)
        before = self.state.get("number")
        self._ask(Text(json.dumps({"seed": seed, "split": split})))
        while self.state.get("number") == before or self.state.get("seed") != seed:
            if time.monotonic() > deadline_s:
                raise UserError(f"the simulated arm did not lay out episode {seed} of {split}.")
            time.sleep(0.02)

    def finish(self) -> dict[str, Any]:
        """End the episode; its result, as :meth:`ManipulationEnv.metrics` has it."""
        if self.over:
            return dict(self.state["result"])
        done, told = self._link.call("robowm/finish")
        if not done:
            raise UserError(f"the simulated arm gave no result: {told}.")
        return dict(json.loads(told)["result"])

    def _hear_state(self, message: Text) -> None:
        self.state = json.loads(message.data)

    def _hear_constraints(self, message: Text) -> None:
        self._constraints = json.loads(message.data)
