"""The states of a managed node, as ROS 2 has them, for every middleware.

Names and transitions are those of ROS 2's managed nodes (https://design.ros2.org/articles/node_lifecycle.html):
``unconfigured`` -> configure -> ``inactive`` -> activate -> ``active``, back by deactivate and cleanup,
and shutdown from anywhere to ``finalized``. A step that is refused leaves the state as it was; one that
breaks leads to ``unconfigured``, with the arm held.
"""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from robowm.dispatch.wire.protocol import Answer
from robowm.errors import UserError

logger = logging.getLogger(__name__)


class LifecycleState(enum.StrEnum):
    UNCONFIGURED = "unconfigured"
    INACTIVE = "inactive"
    ACTIVE = "active"
    FINALIZED = "finalized"


UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED = LifecycleState
TRANSITIONS = {
    "configure": ((UNCONFIGURED,), INACTIVE),
    "cleanup": ((INACTIVE,), UNCONFIGURED),
    "activate": ((INACTIVE,), ACTIVE),
    "deactivate": ((ACTIVE,), INACTIVE),
    "shutdown": ((UNCONFIGURED, INACTIVE, ACTIVE), FINALIZED),
}  # name -> the states that it may begin in, the state that it leads to


class Managed(Protocol):
    """What a managed node does in each transition. Each raises UserError to refuse, and says why."""

    def configure(self) -> None: ...

    def cleanup(self) -> None: ...

    def activate(self) -> None: ...

    def deactivate(self) -> None: ...

    def shutdown(self) -> None: ...

    def failed(self) -> None:
        """A transition broke: hold the arm and let go of everything, whatever there is of it."""
        ...


class Machine(Protocol):
    """What changes the state: this module's, or a middleware's own."""

    @property
    def state(self) -> LifecycleState: ...

    def change(self, transition: str) -> Answer: ...


def perform(managed: Managed, transition: str) -> tuple[bool | None, str]:
    """Do what a transition does: True, False where that was refused, None where it broke; and why."""
    try:
        getattr(managed, transition)()
        return True, ""
    except UserError as error:
        return False, str(error)
    except Exception as error:
        logger.exception("%s failed", transition)
        return None, f"{transition} failed: {type(error).__name__}: {error}"


class Lifecycle:
    """The machine where the middleware has none. Transitions are done one at a time.

    Args:
      told: called with each new state and why, on the thread that changed it.
    """

    def __init__(self, managed: Managed, told: Callable[[LifecycleState, str], None]):
        self._managed, self._told = managed, told
        self._state = LifecycleState.UNCONFIGURED
        self._lock = threading.Lock()

    @property
    def state(self) -> LifecycleState:
        return self._state

    def change(self, transition: str) -> Answer:
        """Whether it was done; else why not."""
        begins, ends = TRANSITIONS[transition]
        if not self._lock.acquire(blocking=False):
            return False, f"{transition}: another transition is under way"
        try:
            if self._state not in begins:
                return False, f"{transition}: the bridge is {self._state}"
            done, why = perform(self._managed, transition)
            if done:
                self._enter(ends, transition)
            elif done is None:
                self._managed.failed()
                self._enter(LifecycleState.UNCONFIGURED, why)
            return bool(done), why
        finally:
            self._lock.release()

    def _enter(self, state: LifecycleState, why: str) -> None:
        self._state = state
        self._told(state, why)
