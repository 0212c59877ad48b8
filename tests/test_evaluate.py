"""scripts/evaluate.py by its command line: every agent, the promises of report.json, and mistakes."""

import json
import math

import numpy as np
import pytest

import evaluate as script
import robowm_envs
from robowm import agents, cli
from robowm.agents import AgentConfig
from robowm.errors import UserError
from robowm.planning.mppi import MPPIConfig
from robowm_envs.expert import Expert

SMALL = ["+preset=debug", "episodes=1"]
PROMISED = {
    "task", "agent", "checkpoint", "split", "seed", "episodes", "success", "success_low",
    "success_high", "latched_success", "position_error_cm", "rotation_error_deg", "lifted",
    "ms_per_action",
}  # fmt: skip


def call(*arguments):
    return cli.call(script.main, "evaluate", [*SMALL, *arguments])


def report(out):
    return json.loads((out / "report.json").read_text())


def test_what_is_not_learned_needs_a_task_alone(tmp_path):
    names = "agent=[expert,replay,random,nothing]"
    cheap = ["task=reach", "task.observation=state", "episodes=3", "seed=5"]
    assert call(*cheap, names, f"out={tmp_path}") == 0
    data = report(tmp_path)
    assert set(data) >= PROMISED
    assert (data["agent"], data["checkpoint"], data["split"]) == ("expert", None, "test")
    assert [row["agent"] for row in data["rows"]] == ["expert", "replay", "random", "nothing"]
    for row in data["rows"]:
        assert [episode["seed"] for episode in row["episode_results"]] == [5, 6, 7]
    success = {row["agent"]: row["success"] for row in data["rows"]}
    assert success["expert"] == 1 and success["nothing"] == 0
    assert data["paired"]["nothing"] == {"both": 0, "only_first": 3, "only_other": 0, "neither": 0}
    page = (tmp_path / "report.html").read_text()
    assert page.count("<video") == 4 + sum(0 < share < 1 for share in success.values())


def test_a_checkpoint_acts_in_each_of_its_ways(untrained, tmp_path, monkeypatch):
    monkeypatch.setattr(robowm_envs, "make", short(robowm_envs.make))
    names = "agent=[planner,actor,cloning]"
    assert call(f"checkpoint={untrained}", names, f"out={tmp_path}", "film_size=32") == 0
    data = report(tmp_path)
    assert set(data) >= PROMISED and data["task"] == "grasp_rotate_place"
    assert data["checkpoint"].endswith("step_00000001") and data["updates"] == 1
    assert data["planner"]["samples"] == 32
    assert all(row["episode_results"][0]["steps"] == 3 for row in data["rows"])
    planner, actor = data["rows"][:2]
    assert planner["ms_per_action"] > actor["ms_per_action"] > 0
    assert "planner, seed 0: failure" in (tmp_path / "report.html").read_text()


def test_a_planner_may_do_without_a_policy(untrained, tmp_path, monkeypatch):
    trained = agents.load(untrained)
    alone = trained.planner(MPPIConfig(), "none").actor
    assert len(alone.proposals) == 0 and alone.critic is not None
    assert len(trained.planner(MPPIConfig(), "cloning").actor.proposals) == 1
    assert len(trained.planner(MPPIConfig()).actor.proposals) == len(trained.behaviours) == 2
    monkeypatch.setattr(robowm_envs, "make", short(robowm_envs.make))
    settings = ["proposals=none", "films=0", "planner.policy_samples=0"]
    assert call(f"checkpoint={untrained}", *settings, f"out={tmp_path}") == 0
    assert report(tmp_path)["planner"]["proposals"] == "none"


def short(make):
    """Environments whose episodes end after three steps."""

    def made(*args, **kwargs):
        env = make(*args, **kwargs)
        env.time_limit_steps = 3
        return env

    return made


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["agent=planer", "task=reach"], "did you mean 'planner'"),
        (["agent=[expert,nothin]", "task=reach"], "did you mean 'nothing'"),
        (["agent=[random,random]", "task=reach"], "names each once"),
        (["agent=planner", "task=reach"], "agent=planner was learned: give checkpoint=DIR"),
        (["agent=random"], "give task=..."),
        (["agent=actor", "checkpoint=nowhere"], "there is no checkpoint at nowhere"),
        (["agent=random", "task=reach", "split=tset"], "test"),
        (["agent=random", "task=reach", "episodes=0"], "at least 1"),
        (["agent=random", "task=reech"], "did you mean 'reach'"),
        (["agent=random", "planer=cem"], "planner"),
        (["films=-1", "agent=random", "task=reach"], "films is -1"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, capsys, settings, said):
    assert call(*settings, f"out={tmp_path / 'out'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert not (tmp_path / "out").exists()


def test_a_behaviour_that_was_not_trained_is_said(untrained):
    trained = agents.load(untrained)
    with pytest.raises(UserError, match="did you mean 'cloning'"):
        trained.policy("clonning")
    bare = agents.Trained(**{**vars(trained), "behaviours": {"cloning": None}})
    with pytest.raises(UserError, match="no actor_critic: it was trained with cloning"):
        bare.policy("actor_critic")


def test_another_observation_than_the_models_is_refused(untrained, tmp_path, capsys):
    settings = ["task=grasp_rotate_place", "task.observation=state", "agent=actor"]
    assert call(f"checkpoint={untrained}", *settings, f"out={tmp_path / 'out'}") == 2
    assert "does not fit" in capsys.readouterr().err


def make_state_env():
    return robowm_envs.make("reach", observation="state", split="test")


def test_replay_acts_from_memory_of_another_start():
    env = make_state_env()
    agent = agents.make_agent(env, AgentConfig("replay"), Expert, make_state_env)
    played = []
    for _ in range(2):  # the same seed, the same demonstration
        agent.seed(3)
        agent.reset()
        played.append(np.stack([agent.act({}) for _ in range(env.time_limit_steps)]))
    np.testing.assert_array_equal(*played)
    assert played[0].dtype == np.float32
    env.reset(seed=3)
    expert = Expert(env).act()
    assert not math.isclose(np.abs(played[0][0] - expert).max(), 0)
    assert (played[0][-1][:-1] == 0).all()  # the demonstration is over: the hand stays
    env.close()
