"""The bridge as a lifecycle node of ROS 2: its states are rclpy's own, its parameters the configuration's.

Everything that it does is :class:`robowm.dispatch.bridge.node.Bridge`'s. rclpy is imported with this module.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy._rclpy_pybind11 import RCLError
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn
from rclpy.lifecycle import LifecycleState as RosState
from rclpy.node import Node

from robowm.dispatch.bridge.lifecycle import TRANSITIONS, LifecycleState, Managed, perform
from robowm.dispatch.wire.protocol import Answer

DONE = {
    True: TransitionCallbackReturn.SUCCESS,
    False: TransitionCallbackReturn.FAILURE,
    None: TransitionCallbackReturn.ERROR,
}


class BridgeNode(LifecycleNodeMixin, Node):
    """A managed node of that name, whose parameters are declared as it is made.

    A transition may take seconds, in which messages must come in: whoever spins it has several threads.

    Args:
      parameters: their defaults; what the command line or a file says takes their place.
      arguments: of ``rclpy.node.Node``.
    """

    def __init__(self, name: str, parameters: Mapping[str, Any], **arguments: Any):
        Node.__init__(self, name, **arguments)
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._managed: Managed | None = None
        self._state, self._why = LifecycleState.UNCONFIGURED, ""
        self._changing = threading.Lock()
        # Types are judged by the configuration, for which 100 is as good as 100.0.
        fixed = ParameterDescriptor(read_only=True, dynamic_typing=True)
        for key, value in parameters.items():
            self.declare_parameter(key, value, fixed)
        self._defaults = dict(parameters)

    def manage(self, managed: Managed) -> None:
        """Until then every transition is refused."""
        self._managed = managed

    def overrides(self) -> dict[str, Any]:
        """The parameters that differ from their defaults."""
        given = {name: self.get_parameter(name).value for name in self._defaults}
        plain = {k: list(v) if hasattr(v, "tolist") else v for k, v in given.items()}
        return {name: v for name, v in plain.items() if v != self._defaults[name]}

    # ------------------------------------------------------------------ robowm.dispatch.bridge.lifecycle.Machine

    @property
    def state(self) -> LifecycleState:
        """A state between two others counts as the one that it came from."""
        return self._state

    def change(self, transition: str) -> Answer:
        begins, _ = TRANSITIONS[transition]
        if not self._changing.acquire(blocking=False):
            return False, f"{transition}: another transition is under way"
        try:
            if self._state not in begins:
                return False, f"{transition}: the bridge is {self._state}"
            self._why = ""
            done = getattr(self, f"trigger_{transition}")()
            return done == TransitionCallbackReturn.SUCCESS, self._why
        finally:
            self._changing.release()

    # ------------------------------------------------------------------ rclpy's callbacks

    def on_configure(self, state: RosState) -> TransitionCallbackReturn:
        return self._perform("configure")

    def on_cleanup(self, state: RosState) -> TransitionCallbackReturn:
        return self._perform("cleanup")

    def on_activate(self, state: RosState) -> TransitionCallbackReturn:
        return self._perform("activate")

    def on_deactivate(self, state: RosState) -> TransitionCallbackReturn:
        return self._perform("deactivate")

    def on_shutdown(self, state: RosState) -> TransitionCallbackReturn:
        return self._perform("shutdown")

    def on_error(self, state: RosState) -> TransitionCallbackReturn:
        """The arm is held, and the node is unconfigured."""
        if self._managed is not None:
            self._managed.failed()
        self._state = LifecycleState.UNCONFIGURED
        return TransitionCallbackReturn.SUCCESS

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:
        """Jazzy's own raises where no way leads from this state, which ends whoever spins the node."""
        try:
            return LifecycleNodeMixin._LifecycleNodeMixin__change_state(self, transition_id)  # type: ignore[attr-defined]
        except RCLError as error:
            self.get_logger().error(f"no transition {transition_id} from {self._state}: {error}")
            return TransitionCallbackReturn.ERROR

    def _perform(self, transition: str) -> TransitionCallbackReturn:
        if self._managed is None:
            return TransitionCallbackReturn.FAILURE
        done, self._why = perform(self._managed, transition)
        if done:
            self._state = TRANSITIONS[transition][1]
        else:
            self.get_logger().warning(self._why)
        return DONE[done]
