"""The simulated arm, in process. It moves when it is told to, so its clock is the simulation's."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Protocol

import numpy as np

from robowm.dispatch.arm import ArmObservation, ArmSpec, ArmState, Array, Chunk, Receipt
from robowm.errors import UserError


class JointPort(Protocol):
    """How an environment is driven joint by joint, such as ``robowm_envs.joints.JointPort``.

    N counts the gripper, the last of the joints. ``step(targets(action))`` does exactly what the
    environment's own ``step(action)`` does.
    """

    names: tuple[str, ...]
    low: Array  # [N]
    high: Array  # [N]
    velocity: Array  # [N], infinite where the drive limits itself

    def state(self) -> tuple[Array, Array]:
        """Measured position and velocity, [N] each."""
        ...

    def targets(self, action: np.ndarray) -> Array:
        """Joint targets [N] that ``action`` [A] means here and now. Changes nothing."""
        ...

    def step(self, q: Array) -> Any:
        """Follow the targets [N] for one control step; a dm_env.TimeStep."""
        ...

    def tool_position(self, q: Array) -> Array:
        """Forward kinematics: [N] -> [3] m."""
        ...


@dataclasses.dataclass
class SimArmConfig:
    """Attributes:
    position_margin_rad: kept to each joint's end stop; the gripper may use all of its stroke.
    workspace_low, workspace_high: [3] m, box for the tool point.
    """

    kind: str = "sim"
    position_margin_rad: float = 0.1
    workspace_low: tuple[float, float, float] = (0.25, -0.32, 0.0)
    workspace_high: tuple[float, float, float] = (0.73, 0.32, 0.40)


class SimArm:
    """An arm in a dm_env environment that has a joint port.

    Args:
      seed: the episode that :meth:`connect` starts; None is the environment's next.

    Attributes:
      timestep: the environment's last, with reward and whether the episode is over.
    """

    def __init__(self, config: SimArmConfig, env: Any, port: JointPort, seed: int | None = None):
        self.env, self.port, self.seed = env, port, seed
        margin = np.full(len(self.port.names), config.position_margin_rad)
        margin[-1] = 0.0
        self.spec = ArmSpec(
            joints=tuple(self.port.names),
            position_low=tuple((self.port.low + margin).tolist()),
            position_high=tuple((self.port.high - margin).tolist()),
            velocity=tuple(self.port.velocity.tolist()),
            workspace_low=config.workspace_low,
            workspace_high=config.workspace_high,
            rate_hz=1 / env.control_dt_s,
        )
        self.timestep: Any = None
        self._state = ArmState.DISCONNECTED
        self._target = np.zeros(len(self.port.names))
        self._steps = 0

    @property
    def state(self) -> ArmState:
        return self._state

    def connect(self) -> None:
        """Start episode ``seed`` of the environment."""
        self.timestep = self.env.reset(seed=self.seed)
        self._steps = 0
        self._target = self.port.state()[0]
        self._state = ArmState.READY

    def close(self) -> None:
        self._state = ArmState.DISCONNECTED

    def observe(self) -> ArmObservation:
        if self.timestep is None:
            raise UserError("the arm has not been connected: call connect() before observe().")
        q, dq = self.port.state()
        return ArmObservation(
            q=q,
            dq=dq,
            arrays=self.timestep.observation,
            stamp_s=self._steps * self.env.control_dt_s,
            received_s=time.monotonic(),
            age_s=0.0,  # the simulation waits for us
        )

    def send(self, chunk: Chunk) -> Receipt:
        if self._state not in (ArmState.READY, ArmState.HOLDING):
            return Receipt(False, f"the arm is {self._state}")
        self._state = ArmState.READY
        for done, q in enumerate(chunk.q):
            if self.timestep.last():
                return Receipt(done > 0, "the episode is over", done)
            self._step(q)
        return Receipt(True, sent=len(chunk.q))

    def hold(self) -> None:
        """Hold for one control step: the world goes on while the arm stands."""
        if self._state in (ArmState.DISCONNECTED, ArmState.STOPPED):
            return
        self._state = ArmState.HOLDING
        if not self.timestep.last():
            self._step(self._target)

    def estop(self) -> None:
        """The simulation stands still with the arm."""
        self._state = ArmState.STOPPED

    def reset(self) -> None:
        if self._state is ArmState.STOPPED:
            self._state = ArmState.HOLDING if self.timestep is not None else ArmState.DISCONNECTED

    def _step(self, q: Array) -> None:
        self.timestep = self.port.step(q)
        self._target = q
        self._steps += 1
