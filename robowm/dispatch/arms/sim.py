"""The simulated arm, in process. Time passes while it is waited for, so its clock is the simulation's."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Protocol

import numpy as np

from robowm.dispatch.arm import ArmObservation, ArmState, Array, Chunk, Receipt
from robowm.dispatch.limits import LimitsConfig
from robowm.dispatch.trajectory import Trajectory
from robowm.errors import UserError


class JointPort(Protocol):
    """How an environment is driven joint by joint, such as ``robowm_envs.joints.JointPort``.

    N counts the gripper, the last of the joints; S times within a control step are ``sample_s``.
    """

    names: tuple[str, ...]
    low: Array  # [N]
    high: Array  # [N]
    velocity: Array  # [N], infinite where the drive limits itself
    sample_s: Array  # [S]

    def state(self) -> tuple[Array, Array]:
        """Measured position and velocity, [N] each."""
        ...

    def follow(self, q: Array, dq: Array) -> Any:
        """One control step along positions and velocities [S, N]; a dm_env.TimeStep."""
        ...


@dataclasses.dataclass
class SimArmConfig:
    kind: str = "sim"
    limits: LimitsConfig = dataclasses.field(default_factory=LimitsConfig)


class SimArm:
    """An arm in a dm_env environment that has a joint port.

    Args:
      seed: the episode that :meth:`connect` starts; None is the environment's next.

    Attributes:
      timestep: the environment's last, with reward and whether the episode is over.
    """

    def __init__(self, config: SimArmConfig, env: Any, port: JointPort, seed: int | None = None):
        self.env, self.port, self.seed = env, port, seed
        self.spec = config.limits.spec(
            port.names, port.low, port.high, port.velocity, 1 / env.control_dt_s
        )
        self.timestep: Any = None
        self._state, self._connected = ArmState.DISCONNECTED, False
        self._path = Trajectory.rest(0.0, np.zeros(len(port.names)))
        self._steps = 0

    @property
    def state(self) -> ArmState:
        return self._state

    def connect(self) -> None:
        """Start episode ``seed`` of the environment."""
        self.timestep = self.env.reset(seed=self.seed)
        self._steps = 0
        self._path = Trajectory.rest(0.0, self.port.state()[0])
        self._connected = True
        if self._state is not ArmState.STOPPED:
            self._state = ArmState.READY

    def close(self) -> None:
        self._connected = False
        if self._state is not ArmState.STOPPED:
            self._state = ArmState.DISCONNECTED

    def observe(self) -> ArmObservation:
        if self.timestep is None:
            raise UserError("the arm has not been connected: call connect() before observe().")
        q, dq = self.port.state()
        return ArmObservation(
            q=q,
            dq=dq,
            arrays=self.timestep.observation,
            stamp_s=self._now_s,
            received_s=time.monotonic(),
            age_s=0.0,  # the simulation waits for us
        )

    def send(self, chunk: Chunk) -> Receipt:
        if self._state not in (ArmState.READY, ArmState.HOLDING):
            return Receipt(False, f"the arm is {self._state}")
        if self.timestep.last():
            return Receipt(False, "the episode is over")
        self._state = ArmState.READY
        self._path = self._path.then(chunk, self._now_s)
        return Receipt(True, sent=len(chunk.q))

    def wait(self, stamp_s: float) -> None:
        """Simulate whole control steps until the clock has come to ``stamp_s`` or the episode is over."""
        while self._now_s < stamp_s - 1e-9 and self._state is not ArmState.STOPPED:
            if self.timestep is None or self.timestep.last():
                return
            q, dq, _ = self._path.at(self._now_s + self.port.sample_s)
            self.timestep = self.port.follow(q, dq)
            self._steps += 1

    def hold(self) -> None:
        if self._state in (ArmState.DISCONNECTED, ArmState.STOPPED):
            return
        self._state = ArmState.HOLDING
        self._path = self._path.braking(self._now_s, self.spec)

    def estop(self) -> None:
        """The simulation stands still with the arm."""
        self._state = ArmState.STOPPED

    def reset(self) -> None:
        if self._state is ArmState.STOPPED:
            self._state = ArmState.HOLDING if self._connected else ArmState.DISCONNECTED
            self._path = Trajectory.rest(self._now_s, self._path.at(self._now_s)[0])

    @property
    def _now_s(self) -> float:
        return self._steps * self.env.control_dt_s
