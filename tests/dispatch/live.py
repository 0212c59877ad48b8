"""The toy arm in real time, and a planner process that is a thread: a dispatcher's world in a test."""

from __future__ import annotations

import contextlib
import threading
import time
from multiprocessing import Pipe

import numpy as np

from robowm.dispatch.arm import ArmObservation, ArmState, Receipt
from robowm.dispatch.arms.sim import LimitsConfig
from robowm.dispatch.online.approvals import Approvals
from robowm.dispatch.online.dispatch_config import DispatchConfig
from robowm.dispatch.online.dispatcher import Dispatcher
from robowm.dispatch.online.planner import PlannerProcess
from robowm.dispatch.online.planner_child import serve
from robowm.dispatch.safety import SafetyConfig, SafetyGate
from robowm.dispatch.trajectory import Trajectory
from tests.dispatch import toy
from tests.evaluation.toys import PointEnv

# A busy machine may not run a test for a while: that is not what is tested.
PATIENT = SafetyConfig(stale_periods=30.0, fresh_periods=10.0)


class LiveArm:
    """Follows its chunks by the clock; observed 100 times a second.

    Attributes:
      sent: every chunk that it took.
      frozen: whether observations stop; ``blind``, whether they are no numbers.
    """

    def __init__(self, start=(0.0, 0.0, 0.08), workspace_high=(1.0, 1.0, 1.0)):
        port = toy.PointPort
        limits = LimitsConfig(workspace_low=(-1, -1, 0), workspace_high=workspace_high)
        self.spec = limits.spec(port.names, port.low, port.high, port.velocity, 100.0)
        self._begin_s = time.monotonic()
        self._path = Trajectory.rest(0.0, np.array(start))
        self._lock = threading.Lock()
        self._env, self._frozen_s = PointEnv(), None
        self.state, self.sent, self.held, self.blind = ArmState.DISCONNECTED, [], 0, False

    @property
    def now_s(self):
        return time.monotonic() - self._begin_s

    @property
    def q(self):
        """Where it is."""
        return self._path.at(self.now_s)[0]

    @property
    def speed(self):
        return np.abs(self._path.at(self.now_s)[1][:2]).max()

    @property
    def frozen(self):
        return self._frozen_s is not None

    @frozen.setter
    def frozen(self, value):
        self._frozen_s = self.now_s if value else None

    def connect(self):
        self.state = ArmState.READY

    def close(self):
        self.state = ArmState.DISCONNECTED

    def observe(self):
        now_s = self.now_s
        stamp_s = np.floor((now_s if self._frozen_s is None else self._frozen_s) * 100) / 100
        q, dq, _ = self._path.at(stamp_s)
        self._env.position = q[:2]
        if self.blind:
            q = np.full(3, np.nan)
        arrays = {"image_front": self._env.render(), "proprio": q[:2].astype(np.float32)}
        return ArmObservation(q, dq, arrays, stamp_s, time.monotonic(), now_s - stamp_s)

    def send(self, chunk):
        with self._lock:
            if self.state not in (ArmState.READY, ArmState.HOLDING):
                return Receipt(False, f"the arm is {self.state}")
            if chunk.end_s <= self.now_s:
                return Receipt(False, "all of it is past")
            self.state = ArmState.READY
            self._path = self._path.then(chunk, self.now_s)
            self.sent.append(chunk)
            return Receipt(True, sent=len(chunk.q))

    def wait(self, stamp_s):
        time.sleep(max(0.0, stamp_s - self.now_s))

    def hold(self):
        with self._lock:
            self.held += 1
            if self.state is ArmState.READY:
                self.state = ArmState.HOLDING
                self._path = self._path.braking(self.now_s, self.spec)

    def estop(self):
        with self._lock:
            self.state = ArmState.STOPPED
            self._path = self._path.braking(self.now_s, self.spec)

    def reset(self):
        if self.state is ArmState.STOPPED:
            self.state = ArmState.HOLDING


class ThreadPlanner(PlannerProcess):
    """The same conversation with a thread, which starts at once."""

    def _launch(self):
        ours, theirs = Pipe()
        thread = threading.Thread(
            target=serve, args=(theirs, self._make, self._arguments), daemon=True
        )
        thread.start()
        return _Process(thread, ours), ours


class _Process:
    """As much of a process as is asked of a thread."""

    exitcode = 0

    def __init__(self, thread, connection):
        self._thread, self._connection = thread, connection

    def is_alive(self):
        return self._thread.is_alive()

    def kill(self):
        pass  # it ends as its line does

    def join(self, timeout=None):
        pass


@contextlib.contextmanager
def dispatching(
    make=toy.going_to_the_goal, *arguments, arm=None, planner=None, approvals=None, **settings
):
    """A dispatcher that runs in a thread; it must not have failed by the end."""
    arm = arm or LiveArm()
    arm.connect()
    settings = {"mode": "auto", "planner_timeout_s": 20.0, **settings}
    approvals = approvals or Approvals()
    records = []
    dispatcher = Dispatcher(
        arm,
        planner or ThreadPlanner(make, *arguments),
        SafetyGate(PATIENT, arm.spec, toy.PointBody()),
        toy.PointCommander(),
        (False, False, True),
        DispatchConfig(**settings),
        approvals,
        listeners=[records.append],
    )
    dispatcher.records = records
    over, failed = threading.Event(), []

    def run():
        try:
            dispatcher.run(over.is_set)
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield dispatcher
    finally:
        over.set()
        thread.join(20)
    assert not failed and not thread.is_alive()


def until(happened, timeout_s=30.0):
    """Wait for it, and return what it is."""
    end_s = time.monotonic() + timeout_s
    while not (value := happened()):
        assert time.monotonic() < end_s, "it never happened"
        time.sleep(0.005)
    return value
