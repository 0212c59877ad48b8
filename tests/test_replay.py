"""scripts/replay.py from a run of plan.py to a page, and to episodes that train.py learns from."""

import json

import numpy as np
import pytest

import plan
import replay
import train
from robowm import cli
from robowm.data.store import open_dataset
from tests.dispatch import recorded


def call(*arguments):
    return cli.call(replay.main, "replay", list(arguments))


@pytest.fixture(scope="module")
def planned(untrained, tmp_path_factory):
    """A folder that plan.py has left, the bag among the rest."""
    out = tmp_path_factory.mktemp("plan")
    given = [f"checkpoint={untrained}", f"out={out}", "record=true", "loop.max_steps=5"]
    assert cli.call(plan.main, "plan", ["+preset=debug", *given]) == 0
    return out


@pytest.fixture(scope="module")
def replayed(planned, untrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("replay")
    assert call(f"bag={planned}", f"out={out}", "episodes=true", f"checkpoint={untrained}") == 0
    return out


def test_the_page_tells_of_the_run(planned, replayed):
    page = (replayed / "replay.html").read_text()
    for words in ("The safety gate", "Commanded against measured", "predicted success", "Latency"):
        assert words in page
    assert page.count("<video") == 2  # what was seen, and what the model makes of it
    assert (replayed / "film.mp4").stat().st_size > 1000
    data = json.loads((replayed / "replay.json").read_text())
    log = json.loads((planned / "plan.json").read_text())["log"]
    assert data["plans"] == data["judged"] == len(log) == 5 and data["closed"]
    assert data["series"]["plans"]["value"] == [tick["plan"]["value"] for tick in log]
    assert data["series"]["decisions"]["margins"]["jerk"] == [
        tick["decision"]["margins"]["jerk"] for tick in log
    ]
    assert data["results"]["0"]["ended"] == "steps" and data["results"]["0"]["success"] == 0
    assert data["tracking"]["joint1"]["largest"] < 0.1


def test_episodes_are_what_plan_did(planned, replayed):
    (stored,) = open_dataset(replayed / "data").episodes
    episode = stored.load()
    log = json.loads((planned / "plan.json").read_text())["log"]
    assert len(episode) == 4  # the last action was not carried out
    done = np.array([tick["executed"] for tick in log], np.float32)
    np.testing.assert_array_equal(episode.actions, done[:4])
    assert episode.observations["image_front"].shape == (5, 64, 64, 3)
    assert np.ptp(episode.observations["image_front"][-1]) > 50
    assert np.isnan(episode.rewards).all() and not stored.info["broken_off"]


@pytest.mark.slow
def test_they_can_be_learned_from(replayed, tmp_path):
    given = [f"data={replayed / 'data'}", f"out={tmp_path}", "learning.updates=2"]
    given += ["learning.log_every=1", "replay.labels=grasp"]
    assert cli.call(train.main, "train", ["+preset=debug", *given]) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 2 and np.isfinite(losses).all()


def test_several_bags_have_a_page_each(tmp_path):
    for name in ("a", "b"):
        recorded.record(tmp_path / "bags" / name / "run", recorded.records(max_steps=3))
    out = tmp_path / "out"
    assert call(f"bag={tmp_path / 'bags'}", f"out={out}", "episodes=true") == 0
    assert (out / "a" / "replay.html").exists() and (out / "b" / "replay.json").exists()
    dataset = open_dataset(out / "data")
    assert len(dataset.episodes) == 2 and dataset.steps == 4
    assert "Plans against what happened" in (out / "a" / "replay.html").read_text()


def test_a_run_that_was_refused_says_why(tmp_path):
    start = recorded.records(max_steps=1)[0].observation.q[0]
    told = recorded.records(workspace_high=(float(start) + 0.06, 1.0, 1.0))
    path = recorded.record(tmp_path / "run", told)
    assert call(f"bag={path}", f"out={tmp_path / 'out'}") == 0
    page = (tmp_path / "out" / "replay.html").read_text()
    assert "the tool leaves the workspace" in page and "5 of 7" in page
    assert not (tmp_path / "out" / "data").exists()


def test_a_run_whose_recorder_was_killed_says_so(tmp_path):
    path = recorded.record(tmp_path / "run", recorded.records())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert call(f"bag={path.parent}", f"out={tmp_path / 'out'}", "episodes=true") == 0
    assert "the recorder was killed" in (tmp_path / "out" / "replay.html").read_text()


def test_a_run_of_nothing_has_a_page(tmp_path):
    path = recorded.record(tmp_path / "run", [])
    assert call(f"bag={path}", f"out={tmp_path / 'out'}", "episodes=true") == 0
    assert json.loads((tmp_path / "out" / "replay.json").read_text())["episodes"] == []


@pytest.mark.parametrize(
    "damage", [lambda data: data[:60], lambda data: b"nothing"], ids=["cut", "foreign"]
)
def test_a_damaged_bag_is_one_sentence(tmp_path, capsys, damage):
    path = recorded.record(tmp_path / "run", recorded.records(max_steps=2))
    path.write_bytes(damage(path.read_bytes()))
    assert call(f"bag={path}", f"out={tmp_path / 'out'}") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and str(path) in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bag_that_is_not_there(tmp_path, capsys):
    assert call(f"bag={tmp_path / 'none'}", f"out={tmp_path}") == 2
    assert "there is no bag" in capsys.readouterr().err


def test_a_second_recording_in_the_same_place_is_refused(planned, untrained, capsys):
    given = [f"checkpoint={untrained}", f"out={planned}", "record=true", "loop.max_steps=1"]
    assert cli.call(plan.main, "plan", ["+preset=debug", *given]) == 2
    assert "is there already" in capsys.readouterr().err
