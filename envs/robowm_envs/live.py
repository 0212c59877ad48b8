"""A scene that goes on by itself, as the world around a real arm does: nobody waits for anybody.

It is driven joint by joint, one time step of the physics after the other, and judged as the environment
judges: control step by control step, from the moment that :meth:`LiveArm.start_clock` is called.
"""

from __future__ import annotations

import threading

import numpy as np

from robowm_envs.env import ManipulationEnv
from robowm_envs.joints import JointPort
from robowm_envs.physics import Physics


class LiveArm:
    """The arm of ``env``, which is to be in state mode: a ``Photographer`` draws.

    Joints are those of :class:`JointPort`; the last is the gripper (m), which closes below half its
    stroke.

    Attributes:
      names, low, high, velocity: [N], as of JointPort.
      period_s: a time step.
      goal: float32 [G] the observation ``goal`` of this episode.
      begun: whether its clock runs.
      over: whether it has been judged; the world goes on regardless.
      scenes: how many episodes have been laid out.
      lock: held while the scene is laid out; who reads the model on another thread holds it too.
    """

    def __init__(self, env: ManipulationEnv):
        self._env, self._port = env, JointPort(env)
        self.names, self.low, self.high = self._port.names, self._port.low, self._port.high
        self.velocity = self._port.velocity
        self.period_s = float(env.physics.model.opt.timestep)
        self._substeps = len(self._port.sample_s)
        self.goal = np.zeros(0, np.float32)
        self.begun = self.over = False
        self.scenes = 0
        self.lock = threading.Lock()
        self._substep = 0
        self._result: dict[str, float] = {}

    @property
    def physics(self) -> Physics:
        return self._env.physics

    @property
    def task(self) -> str:
        return self._env.name

    @property
    def time_limit_s(self) -> float:
        return self._env.time_limit_steps * self._env.control_dt_s

    def begin(self, seed: int, split: str, push: str) -> None:
        """Lay the scene out anew; raises EnvError, with the scene as it was, for a start that is none."""
        with self.lock:
            self._env.draw_from(split, push)
            self.goal = self._env.reset(seed=seed).observation["goal"]
            self.begun = self.over = False
            self.scenes += 1
            self._substep = 0

    def start_clock(self) -> None:
        """The episode begins now."""
        self.begun = True

    def step(self, q: np.ndarray, dq: np.ndarray) -> None:
        """One time step towards joint positions and velocities [N]."""
        env, counts = self._env, self.begun and not self.over
        if counts and self._substep == 0:
            env.disturb()
        closed = q[-1:] < self.high[-1] / 2
        env.physics.simulate(env.controller.follow(q[None, :-1], dq[None, :-1], closed))
        if not counts:
            return
        self._substep = (self._substep + 1) % self._substeps
        if self._substep == 0 and env.finish_step().last():
            self.finish()

    def finish(self) -> dict[str, float]:
        """End the episode here, if it has not ended; its metrics."""
        if not self.over:
            self._result = self._env.metrics()
            self._env.physics.push_hand(np.zeros(3))  # a push may be under way
            self.over = True
        return self._result

    def measure(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Joint positions, velocities and efforts [N]; the gripper's effort is a share of its force."""
        return (*self._port.state(), self._port.effort())

    def constraints(self) -> dict[str, np.ndarray]:
        """Of :meth:`ManipulationEnv.constraints`."""
        return self._env.constraints()
