import dataclasses

import numpy as np
import pytest
import torch

from robowm.behaviour.baselines import NothingAgent, RandomAgent
from robowm.errors import UserError
from robowm.planning import PLANNERS
from robowm.planning.agent import BeliefAgent
from robowm.planning.mppi import MPPIConfig

CONFIG = MPPIConfig(
    samples=64, policy_samples=8, discount=1.0, init_std=0.5, policy_prior=0.0, trust_margin=0.0
)


class Recorder:
    """Wraps the toy model and keeps what ``observe`` was given."""

    def __init__(self, model):
        self.model, self.calls = model, []
        self.initial, self.step = model.initial, model.step
        self.feat, self.predict = model.feat, model.predict

    def observe(self, state, prev_action, obs, is_first):
        self.calls.append((prev_action.clone(), obs, is_first.clone()))
        return self.model.observe(state, prev_action, obs, is_first)


@pytest.fixture
def recorder(model):
    return Recorder(model)


def planner(model, spec, **arguments):
    return PLANNERS["mppi"](CONFIG, model, spec.action, **arguments)


def test_planning_agent_reaches_the_origin(model, spec, observation):
    agent = BeliefAgent(model, spec, planner(model, spec))
    for step in range(12):
        action = agent.act(observation)
        assert action.shape == (3,) and action.dtype == np.float32
        assert abs(action[2]) == 1.0
        assert torch.equal(agent.last_plan.action[0], torch.from_numpy(action))
        assert len(agent.latency_ms) == step + 1
        state = {"x": torch.from_numpy(observation["proprio"])[None], "goal": torch.ones(1, 1)}
        x = model.step(state, torch.from_numpy(action)[None])["x"]
        observation = observation | {"proprio": x[0].numpy()}
    assert np.linalg.norm(observation["proprio"][:2]) < 0.08
    assert agent.last_plan.action[0, 2] == 1.0


def test_policy_agent_acts_by_the_mode(model, spec, observation, policies):
    agent = BeliefAgent(model, spec, policies["fair"])
    action = agent.act(observation)
    np.testing.assert_allclose(action, [-0.12, 0.09, 1.0], atol=1e-6)
    assert agent.last_plan is None


@pytest.mark.parametrize("kind", ["planner", "policy"])
def test_worlds_side_by_side_do_not_depend_on_each_other(model, spec, observation, policies, kind):
    config = dataclasses.replace(CONFIG, policy_samples=0)

    def make():
        actor = PLANNERS["mppi"](config, model, spec.action, [policies["fair"]], seed=3)
        return BeliefAgent(model, spec, policies["fair"] if kind == "policy" else actor)

    other = observation | {"proprio": np.array([-0.9, 0.4, 0.3, 0.0], np.float32)}
    together, alone, next_to_it = make(), make(), make()
    for _ in range(3):
        both = together.act_together([observation, other])
        np.testing.assert_allclose(both[0], alone.act(observation), atol=1e-5)
        np.testing.assert_allclose(both[1], next_to_it.act(other), atol=1e-5)
    assert len(together.latency_ms) == 3
    assert not np.allclose(both[0], both[1])


def test_belief_follows_the_episode(recorder, spec, observation, policies):
    agent = BeliefAgent(recorder, spec, policies["fair"])
    first = agent.act(observation)
    agent.act(observation)
    other = np.array([0.5, 0.5, -1], np.float32)
    agent.executed(other)
    agent.act(observation)
    agent.reset()
    assert agent.latency_ms == []
    agent.act(observation)
    previous, obs, is_first = zip(*recorder.calls, strict=True)
    assert [bool(x) for x in is_first] == [True, False, False, True]
    assert obs[0]["proprio"].shape == (1, 4) and set(obs[0]) == {"proprio", "goal"}
    expected = [np.zeros(3), first, other, np.zeros(3)]
    np.testing.assert_array_equal(torch.cat(previous).numpy(), np.stack(expected))


def test_warm_start_is_passed_on_and_forgotten(model, spec, observation):
    class Spy:
        horizon = 1

        def __init__(self):
            self.given, self.inner = [], planner(model, spec)

        def plan(self, state, warm_start=None):
            self.given.append(warm_start)
            return self.inner.plan(state, warm_start)

    spy = Spy()
    agent = BeliefAgent(model, spec, spy)
    agent.act(observation)
    first = agent.last_plan
    agent.act(observation)
    agent.reset()
    agent.act(observation)
    assert spy.given[0] is None and spy.given[1] is first and spy.given[2] is None


def test_a_seed_repeats_the_episode(model, spec, observation):
    agent = BeliefAgent(model, spec, planner(model, spec))
    episodes = []
    for seed in (1, 2, 1):
        agent.seed(seed)
        agent.reset()
        episodes.append(np.stack([agent.act(observation) for _ in range(3)]))
    assert np.array_equal(episodes[0], episodes[2])
    assert not np.array_equal(episodes[0], episodes[1])


def test_observations_that_do_not_fit_are_named(model, spec, observation, policies):
    agent = BeliefAgent(model, spec, policies["fair"])
    with pytest.raises(UserError, match="'goal' is missing"):
        agent.act({"proprio": observation["proprio"]})
    with pytest.raises(UserError, match=r"'proprio' has shape \(3,\)"):
        agent.act(observation | {"proprio": np.zeros(3, np.float32)})
    assert agent.belief is None


def test_a_policy_gone_wrong_never_reaches_the_arm(model, spec, observation):
    class Broken:
        def mode(self):
            return torch.tensor([[float("nan"), 0, 1]])

    with pytest.raises(UserError, match="dx_m"):
        BeliefAgent(model, spec, lambda feat: Broken()).act(observation)


def test_device_is_that_of_the_parameters(spec):
    model = torch.nn.Linear(1, 1, device="meta")
    assert BeliefAgent(model, spec, lambda feat: None).device.type == "meta"


def test_baselines(spec, observation):
    nothing = NothingAgent(spec)
    nothing.reset()
    assert nothing.act(observation).tolist() == [0, 0, -1]
    random, same = RandomAgent(spec, seed=5), RandomAgent(spec, seed=6)
    same.seed(5)
    draws = np.stack([random.act(observation) for _ in range(200)])
    assert draws.dtype == np.float32 and np.abs(draws).max() <= 1
    assert set(draws[:, 2]) == {-1.0, 1.0}
    assert 0.45 < draws[:, :2].std() < 0.7  # uniform: 0.577
    np.testing.assert_array_equal(draws, [same.act(observation) for _ in range(200)])
    random.reset()
    assert not np.array_equal(random.act(observation), draws[0])
