"""Training that collects while it learns, in a real environment."""

import functools

import numpy as np
import pytest

import robowm_envs
from robowm import cli
from robowm.data.collect import CollectConfig, OnlineCollector, collect, collect_episode
from robowm.data.disturbance import DisturbanceConfig
from robowm.data.store import open_dataset
from robowm.learning import checkpoint
from robowm_envs.expert import Expert

from .test_train_script import curve, train_script

MAKE = functools.partial(robowm_envs.make, "reach", observation="state")


class Still:
    def reset(self):
        pass

    def act(self, observation=None):
        return np.array([0, 0, 0, 0, -1], np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    collect(MAKE, Expert, CollectConfig(episodes=3, workers=1), folder, {})
    return folder


def train(data, out, *settings):
    arguments = [
        *("task=reach", "task.observation=state", f"data={data}", f"out={out}", "+preset=debug"),
        *("learning.log_every=1", "learning.decay=1.0", "learning.train_ratio=0.5", *settings),
    ]
    return cli.call(train_script.main, "train", arguments)


def test_the_driver_acts_and_the_expert_labels():
    env = MAKE()
    still = DisturbanceConfig(clean=1.0)
    episode = collect_episode(env, Expert(env), 0, still, driver=Still())
    assert (episode.actions == Still().act()).all()
    assert np.abs(episode.expert_actions[0, :3]).max() > 0.1
    assert not episode.success.any()


def test_a_collector_goes_on_with_the_next_seed():
    collector = OnlineCollector(MAKE(), Expert, Still, DisturbanceConfig(clean=1.0), seed=7)
    assert [collector()[0].info["seed"] for _ in range(2)] == [7, 8]
    collector.load_state_dict({"seed": 7})
    assert collector()[0].info["seed"] == 7 and collector.state_dict() == {"seed": 8}


@pytest.mark.parametrize("agent", [pytest.param("planner", marks=pytest.mark.slow), "cloning"])
def test_what_is_learned_drives_and_resuming_is_exact(data, tmp_path, agent):
    settings = [f"online.agent={agent}", "learning.online_after=2", "learning.checkpoint_every=3"]
    settings += ["planner.samples=32", "planner.iterations=1"]
    for out, updates in (("whole", 6), ("parts", 3), ("parts", 6)):
        assert train(data, tmp_path / out, *settings, f"learning.updates={updates}") == 0
    added = open_dataset(tmp_path / "whole" / "online").episodes
    assert len(added) >= 2
    assert curve(tmp_path / "whole") == curve(tmp_path / "parts")
    state = checkpoint.load(tmp_path / "whole").state
    assert state["collector"]["seed"] == 1_000_000 + len(added)


def test_an_unknown_driver_is_refused(data, tmp_path, capsys):
    assert train(data, tmp_path, "online.agent=expert") == 2
    assert "unknown online.agent 'expert'" in capsys.readouterr().err
