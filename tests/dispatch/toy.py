"""The point of tests/evaluation/toys.py as an arm of three joints: x, y and a gripper."""

from __future__ import annotations

import os
import time

import numpy as np
import torch

from robowm.planning.agent import BeliefAgent
from robowm.planning.protocol import Plan
from robowm.spec import TaskSpec
from tests.evaluation.toys import STEP_M, PointEnv, PointModel


class PointPort:
    """Joints 0 and 1 are the point's position."""

    names = ("slide_x", "slide_y", "gripper")
    low, high = np.array([-1.0, -1.0, 0.0]), np.array([1.0, 1.0, 0.08])
    velocity = np.array([0.5, 0.5, np.inf])
    sample_s = np.array([0.05, 0.1])

    def __init__(self, env):
        self.env, self.width = env, 0.08

    def state(self):
        return np.array([*self.env.position, self.width]), np.zeros(3)

    def follow(self, q, dq):
        """The point is where it is told to be: a servo without mass."""
        self.width = float(q[-1, 2])
        move = (q[-1, :2] - self.env.position) / STEP_M
        return self.env.step(np.array([*move, 1.0 if self.width < 0.04 else -1.0]))


class PointBody:
    """A point that touches nothing, 0.1 m above the table."""

    reach_m = np.array([1.0, 1.0, 0.0])

    def look(self, q):
        return np.array([q[0], q[1], 0.1]), 1.0, None


class PointCommander:
    """An action moves the point by its share of STEP_M."""

    def reset(self, q):
        pass

    def target(self, action, q):
        return np.array([*(q[:2] + STEP_M * action[:2]), 0.0 if action[2] > 0 else 0.08])

    def state(self):
        return None

    def restore(self, state):
        pass


class PointArmEnv(PointEnv):
    """An episode is 20 steps."""

    time_limit_steps = 20


class Straight:
    """A planner that moves along x at full speed, and knows what comes of it."""

    horizon = 5

    def __init__(self, model, action=(1.0, 0.5, 1.0)):
        self.model, self.action, self.calls = model, torch.tensor([action]), 0

    def plan(self, state, warm_start=None):
        self.calls += 1
        states, current = [], state
        for _ in range(self.horizon):
            current = self.model.step(current, self.action)
            states.append(current)
        return Plan(
            action=self.action,
            sequence=self.action[:, None].repeat(1, self.horizon, 1),
            value=torch.tensor([1.5]),
            success=torch.tensor([0.75]),
            epistemic=torch.zeros(1, self.horizon),
            trusted_steps=torch.tensor([3]),
            states=states,
            planning_time_ms=1.0,
        )


def make(drift_m=0.0, action=(1.0, 0.5, 1.0)):
    """Environment, model and planning agent of one point."""
    env, model = PointArmEnv(), PointModel(drift_m)
    spec = TaskSpec.from_env(env)
    return env, model, BeliefAgent(model, spec, Straight(model, action)), spec


class ToGoal(Straight):
    """A planner that goes to ``PointEnv.goal_m`` along x, and takes its time to think."""

    def __init__(self, model, delay_s=0.0, horizon=6):
        super().__init__(model)
        self.delay_s, self.horizon = delay_s, horizon

    def plan(self, state, warm_start=None):
        begin = time.perf_counter()
        self.calls += 1
        time.sleep(self.delay_s)
        states, actions, current = [], [], state
        for _ in range(self.horizon):
            x = current["position"][:, 0]
            along = ((PointEnv.goal_m - x) / STEP_M).clamp(-1, 1)
            actions.append(torch.stack([along, 0 * along, 0 * along - 1], -1))
            current = self.model.step(current, actions[-1])
            states.append(current)
        sequence = torch.stack(actions, 1)
        return Plan(
            action=sequence[:, 0],
            sequence=sequence,
            value=torch.tensor([1.0]),
            success=torch.tensor([0.9]),
            epistemic=torch.zeros(1, self.horizon),
            trusted_steps=torch.tensor([self.horizon]),
            states=states,
            planning_time_ms=1e3 * (time.perf_counter() - begin),
        )


class Failing(ToGoal):
    """Has an accident at the call of that number: it raises, ends its process, or hangs."""

    def __init__(self, model, accident, at):
        super().__init__(model)
        self.accident, self.at = accident, at

    def plan(self, state, warm_start=None):
        if self.calls + 1 == self.at:
            if self.accident == "raise":
                raise ArithmeticError("a plan of nothing")
            if self.accident == "exit":
                os._exit(3)
            time.sleep(60)
        return super().plan(state, warm_start)


def going_to_the_goal(delay_s=0.0):
    """As :func:`make`, but the agent alone: what a planner process is handed."""
    return _agent(lambda model: ToGoal(model, delay_s))


def going_astray(action=(1.0, 0.5, 1.0)):
    return _agent(lambda model: Straight(model, action))


def failing(accident, at):
    return _agent(lambda model: Failing(model, accident, at))


def _agent(make_planner):
    torch.set_num_threads(1)
    model = PointModel()
    return BeliefAgent(model, TaskSpec.from_env(PointArmEnv()), make_planner(model))
