"""scripts/collect.py, by its command line, on a real task."""

import numpy as np
import pytest

import collect as script
from robowm import cli
from robowm.data.collect import Collected
from robowm.data.store import open_dataset


def call(out, *settings):
    wanted = ["task=reach", "task.observation=state", "workers=1", f"out={out}", *settings]
    return cli.call(script.main, "collect", wanted)


def test_collects_then_has_nothing_left_to_do(tmp_path, capfd):
    assert call(tmp_path, "episodes=3") == 0
    dataset = open_dataset(tmp_path)
    assert dataset.spec.task == "reach"
    assert [e.info["seed"] for e in dataset.episodes] == [0, 1, 2]
    starts = {tuple(e.load().observations["goal"][0].tolist()) for e in dataset.episodes}
    assert len(starts) == 3
    assert "3 episodes" in capfd.readouterr().out
    assert call(tmp_path, "episodes=3") == 0
    assert "steps/s" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["episodes=0"], "episodes is 0"),
        (["split=test"], "train, validation"),
        (["episods=3"], "episodes"),
        (["compression=zip"], "gzip"),
        (["task.name=grap"], "grasp"),
        (["disturbance.noise=-1"], "disturbance.noise"),
        (["driver=expert", "checkpoint=reach"], "cloning"),
        (["driver=cloning"], "checkpoint=DIR"),
        (["driver=cloning", "checkpoint=grasp"], "the task"),
        (["driver=mistaken"], "no goal that could be mistaken"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, capfd, settings, said):
    assert call(tmp_path, *settings) == 2
    error = capfd.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not list(tmp_path.glob("*.hdf5"))


def test_a_push_is_in_the_data(tmp_path):
    settings = ("task=grasp_rotate_place", "episodes=1", "seed=4", "disturbance.clean=1")
    assert call(tmp_path / "calm", *settings) == 0
    assert call(tmp_path / "pushed", *settings, "push=arm") == 0
    calm, pushed = (
        open_dataset(tmp_path / name).episodes[0].load().observations["proprio"]
        for name in ("calm", "pushed")
    )
    steps = min(len(calm), len(pushed))
    assert (calm[:8] == pushed[:8]).all()
    assert abs(calm[:steps] - pushed[:steps]).max() > 0.01


def test_a_learned_driver_acts_and_the_expert_labels(tmp_path):
    settings = ("episodes=1", "disturbance.clean=1", "task.observation=pixels", "extra_steps=0")
    learned = ("driver=cloning", "checkpoint=reach")
    assert call(tmp_path / "expert", *settings) == 0
    assert call(tmp_path / "learned", *settings, *learned) == 0
    one, other = (
        open_dataset(tmp_path / name).episodes[0].load() for name in ("expert", "learned")
    )
    np.testing.assert_array_equal(one.actions, one.expert_actions)
    assert not np.array_equal(other.actions, other.expert_actions)
    np.testing.assert_array_equal(one.expert_actions[0], other.expert_actions[0])


def test_bar_counts_what_it_is_told():
    with script.Progress() as progress:
        bar = script.Bar(progress, 10)
        bar(4)
        bar(Collected(seed=4, steps=20, success=True, seconds=0.1))
        bar(Collected(seed=5, steps=30, success=False, seconds=0.1))
        assert progress.tasks[0].completed == 6
        assert progress.tasks[0].fields["said"] == "50 steps, success 50%"
