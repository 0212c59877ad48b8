import functools

import numpy as np
import pytest

from robowm.errors import UserError
from robowm.evaluation.rollout import evaluate, film, run_episode

from . import toys


def test_an_episode_is_measured_at_its_end_and_on_its_way():
    env, agent = toys.PointEnv(), toys.Steady((1.0, 0.0, 1.0))
    result = run_episode(env, agent, seed=3)
    # 12 steps of 2 cm from within 5 cm of 0: past the goal at 20 cm, and through it.
    env.reset(seed=3)
    assert result.position_error_m == pytest.approx(abs(env.position[0] + 0.24 - 0.2))
    assert result.latched_success
    assert result.success == (result.position_error_m < 0.02)
    assert result.steps == len(result.latency_ms) == 12
    assert result.lifted is True
    assert result.dropped is None
    assert np.isnan(result.rotation_error_rad)
    assert (agent.seeds, agent.resets) == ([3], 1)


def test_success_at_the_end_and_on_the_way_differ():
    results = evaluate(toys.make_env, toys.make_steady, episodes=20, seed=0)
    assert all(r.latched_success for r in results)
    assert 0 < sum(r.success for r in results) < 20


def test_seeds_order_and_progress():
    told = []
    results = evaluate(toys.make_env, toys.make_steady, 4, seed=7, progress=told.append)
    assert [r.seed for r in results] == [7, 8, 9, 10]
    assert told == results


class Towards:
    """Goes to the goal, in any number of worlds at once; each is told what it forbids."""

    def reset(self):
        self.sizes = []

    def constrain(self, *constraints):
        self.told = len(constraints)

    def act(self, observation):
        return self.act_together([observation])[0]

    def act_together(self, observations):
        self.sizes.append(len(observations))
        x = np.array([o["proprio"][0] for o in observations])
        rows = [(0.2 - x) / toys.STEP_M, 0 * x, 0 * x + 1]
        return np.stack(rows, 1).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize(("batch", "sizes"), [(1, 1), (3, 2), (4, 4), (9, 4)])
def test_episodes_side_by_side_go_as_they_do_alone(batch, sizes):
    agent, envs = Towards(), []

    def make_env():
        envs.append(toys.PointEnv())
        return envs[-1]

    results = evaluate(make_env, lambda env: agent, 4, seed=5, batch=batch)
    assert [r.seed for r in results] == [5, 6, 7, 8] and all(r.success for r in results)
    for result in results:
        alone = run_episode(toys.PointEnv(), Towards(), result.seed)
        np.testing.assert_array_equal(alone.actions, result.actions)
        assert alone.episode_return == result.episode_return
    assert set(agent.sizes) == {sizes} and agent.told == sizes == len(envs)
    assert all(env.closed for env in envs)


def test_an_agent_that_acts_in_one_world_is_not_asked_for_more():
    results = evaluate(toys.make_env, toys.make_steady, 4, seed=7, batch=3)
    assert [r.seed for r in results] == [7, 8, 9, 10]


def test_the_environment_is_closed_even_when_the_agent_fails():
    env = toys.PointEnv()
    with pytest.raises(UserError, match="damaged"):
        evaluate(lambda: env, toys.make_broken, 1)
    assert env.closed


def test_workers_return_what_one_process_does():
    make_agent = functools.partial(toys.make_steady, action=(0.7, 0.1, -1.0))
    alone = evaluate(toys.make_env, make_agent, 5, seed=2)
    together = evaluate(toys.make_env, make_agent, 5, seed=2, workers=2)

    def timeless(result):
        return {k: v for k, v in result.to_dict().items() if k != "ms_per_action"}

    assert [timeless(r) for r in together] == [timeless(r) for r in alone]


def test_a_workers_error_reaches_the_caller_as_it_was():
    with pytest.raises(UserError, match="the checkpoint is damaged"):
        evaluate(toys.make_env, toys.make_broken, 2, workers=2)


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"episodes": 3, "workers": 0}])
def test_nothing_to_run_is_said(wrong):
    with pytest.raises(UserError, match="at least 1"):
        evaluate(toys.make_env, toys.make_steady, **wrong)


def test_a_film_shows_the_episode_that_was_measured(caplog):
    (result,) = evaluate(toys.make_env, toys.make_steady, 1, seed=5)
    frames = film(toys.make_env, result, size=(16, 16))
    env = toys.PointEnv()
    env.reset(seed=5)
    np.testing.assert_array_equal(frames[0], env.render())
    for _ in range(12):
        env.step((1.0, 0.0, 1.0))
    np.testing.assert_array_equal(frames[-1], env.render())
    assert len(frames) == 13
    assert not caplog.records


def test_a_film_that_differs_is_noticed(caplog):
    (result,) = evaluate(toys.make_env, toys.make_steady, 1, seed=5)
    result.success = not result.success
    film(toys.make_env, result)
    assert "went differently" in caplog.text
