"""The planner's process: it answers, fails, hangs and is started anew, and the arm behind it is safe."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from robowm.dispatch.online.planner import PlannerProcess, PlannerState
from robowm.dispatch.online.planner_child import Request, Step, think
from robowm.dispatch.online.status import State
from robowm.dispatch.record.records import Event, Kind
from robowm.errors import UserError
from tests.dispatch import toy
from tests.dispatch.live import LiveArm, ThreadPlanner, dispatching, until
from tests.evaluation.toys import PointEnv

LOADING_S = 180.0  # of torch, on a machine that has much else to do


def seen(x=0.0):
    env = PointEnv()
    env.reset(seed=0)
    env.position = np.array([x, 0.0])
    return {"image_front": env.render(), "proprio": env.position.astype(np.float32)}


def answer(planner):
    """The next one; or None where it died."""

    def news():
        got = planner.answer()
        return got or planner.state is PlannerState.DEAD

    got = until(news, LOADING_S)
    return None if got is True else got


@pytest.fixture
def started():
    planners = []

    def start(make, *arguments, kind=ThreadPlanner):
        planner = kind(make, *arguments)
        planners.append(planner)
        planner.start()
        assert planner.state is PlannerState.STARTING
        return planner

    yield start
    for planner in planners:
        planner.close()
    assert not [p for p in multiprocessing.active_children() if p.name == "planner"]


def is_ready(planner):
    return lambda: planner.answer() or planner.state is PlannerState.READY


def test_it_answers_what_it_is_asked(started):
    planner = started(toy.going_to_the_goal)
    with pytest.raises(RuntimeError, match="starting"):
        planner.ask(Request([Step(None, seen())], True))
    until(is_ready(planner))
    planner.ask(Request([Step(None, seen())], True, frames=True, constraints={}))
    assert planner.state is PlannerState.BUSY
    plan = answer(planner).plan
    assert planner.busy_s == 0 and planner.state is PlannerState.READY
    assert plan.sequence.shape == (6, 3) and plan.trusted_steps == 6
    np.testing.assert_array_equal(plan.action, plan.sequence[0])
    assert plan.frames["front"].shape == (7, 16, 16, 3)
    assert plan.frames["front"].dtype == np.uint8
    planner.ask(Request([Step(None, seen())], False))
    assert answer(planner).plan is None


@pytest.mark.slow  # two processes that load torch
def test_a_process_that_ends_says_how_and_is_started_anew(started):
    planner = started(toy.failing, "exit", 1, kind=PlannerProcess)
    until(is_ready(planner), LOADING_S)
    first = planner._process.pid
    planner.ask(Request([Step(None, seen())], True))
    assert answer(planner) is None
    assert "exit code 3" in planner.error
    planner.restart()
    until(is_ready(planner), LOADING_S)
    assert planner.starts == 2 and planner._process.pid != first and planner.error == ""
    os.kill(planner._process.pid, signal.SIGKILL)  # while it has nothing to do
    until(lambda: planner.answer() or planner.state is PlannerState.DEAD)
    assert "exit code -9" in planner.error


def test_a_planner_that_fails_says_why(started):
    planner = started(toy.failing, "raise", 1)
    until(is_ready(planner))
    planner.ask(Request([Step(None, seen())], True))
    assert answer(planner) is None
    assert planner.error == "ArithmeticError: a plan of nothing"


def refuse():
    raise UserError("there is no such checkpoint.")


def test_an_agent_that_cannot_be_made_is_one_sentence(started):
    planner = started(refuse)
    assert answer(planner) is None
    assert planner.error == "there is no such checkpoint."


def test_a_planner_that_is_killed_leaves_the_arm_at_rest_and_another_takes_over():
    arm = LiveArm()
    planner = PlannerProcess(toy.going_astray, (0.2, 0.0, 1.0))
    with dispatching(arm=arm, planner=planner) as dispatcher:
        until(lambda: arm.speed > 0.01, LOADING_S)
        os.kill(planner._process.pid, signal.SIGKILL)
        begin = time.monotonic()
        until(lambda: arm.speed == 0)
        rested_s = time.monotonic() - begin
        until(lambda: dispatcher.status().state is State.HOLDING)
        assert "exit code -9" in dispatcher.status().reason
        sent = len(arm.sent)
        dispatcher.restart_planner()
        until(lambda: len(arm.sent) > sent, LOADING_S)
    assert rested_s < 1.0  # 0.02 s where the machine is free; the chunk's own end comes at 0.9 s
    said = [
        e.message for e in dispatcher.records if isinstance(e, Event) and e.kind is Kind.PLANNER
    ]
    assert said == [
        "is being loaded", "ready", "the planner's process ended with exit code -9",
        "is being loaded", "ready",
    ]  # fmt: skip


@pytest.mark.slow  # two processes that load torch
def test_a_planner_that_hangs_leaves_the_arm_at_rest_and_is_replaced():
    arm = LiveArm()
    planner = PlannerProcess(toy.going_astray, (0.2, 0.0, 1.0))
    settings = {"planner_timeout_s": 2.0, "restart_planner": True}
    with dispatching(arm=arm, planner=planner, **settings) as dispatcher:
        until(lambda: arm.speed > 0.01, LOADING_S)
        os.kill(planner._process.pid, signal.SIGSTOP)
        until(lambda: arm.speed == 0)
        until(lambda: dispatcher.status().state is State.HOLDING)
        dispatcher.estop()  # works all the same
        until(lambda: dispatcher.status().state is State.STOPPED)
        until(lambda: planner.starts == 2)
        dispatcher.reset()
        sent = len(arm.sent)
        until(lambda: len(arm.sent) > sent, LOADING_S)
    held = [e.message for e in dispatcher.records if isinstance(e, Event) and e.kind is Kind.HOLD]
    assert "end of its last plan" in held[0]


# ---------------------------------------------------------------------- what the agent lives through


class Diary:
    """An agent that notes what it is told."""

    def __init__(self):
        self.notes, self._real = [], toy.going_to_the_goal()

    def __getattr__(self, name):
        value = getattr(self._real, name)
        if not callable(value) or name in ("model", "actor"):
            return value

        def call(*arguments):
            self.notes.append((name, *arguments))
            return value(*arguments)

        return call

    def __setattr__(self, name, value):
        if name in ("notes", "_real"):
            super().__setattr__(name, value)
        else:
            setattr(self._real, name, value)


def test_the_agent_lives_through_every_step():
    agent, a, b = Diary(), np.array([1, 0, -1], np.float32), np.array([0, 1, -1], np.float32)
    think(agent, Request([Step(None, seen())], True, constraints={}))
    assert [note[0] for note in agent.notes] == ["reset", "constrain", "act"]
    agent.notes.clear()
    steps = [Step(a, seen(0.02)), Step(b, None), Step(a, seen(0.04))]
    plan = think(agent, Request(steps, True, committed=[b])).plan
    assert [note[0] for note in agent.notes] == [
        "executed", "observe", "executed", "unseen", "executed", "act",
    ]  # fmt: skip
    np.testing.assert_array_equal(agent.notes[-1][2], [b])
    assert plan.frames == {} and np.isfinite(plan.value)
    agent.notes.clear()
    assert think(agent, Request([Step(a, seen(0.06))], False)).plan is None
    assert [note[0] for note in agent.notes] == ["executed", "observe"]
    assert agent.last_plan is None  # nothing to go on from


def test_what_was_not_seen_is_believed_to_have_gone_as_expected():
    agent = toy.going_to_the_goal()
    agent.observe(seen(0.1))
    agent.executed(np.array([1, 0, -1], np.float32))
    agent.unseen()
    assert agent.belief["position"][0, 0] == pytest.approx(0.1 + toy.STEP_M)
