"""scripts/plan.py from a checkpoint to a card, with the real arm in the real scene."""

import json

import plan as script
from robowm import cli


def call(*arguments):
    return cli.call(script.main, "plan", ["+preset=debug", *arguments])


def test_an_episode_is_planned_dispatched_and_shown(untrained, tmp_path):
    assert call(f"checkpoint={untrained}", f"out={tmp_path}", "loop.max_steps=7", "seed=2") == 0
    data = json.loads((tmp_path / "plan.json").read_text())
    assert data["seed"] == 2 and data["ended"] == "steps" and len(data["log"]) == 7
    assert len(data["errors"]["planned"]["position_cm"]) == 6
    assert all(
        tick["decision"]["accepted"] and tick["receipt"]["sent"] == len(tick["chunk"]["q"])
        for tick in data["log"]
    )
    assert (tmp_path / "plan_card.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "episode.mp4").stat().st_size > 1000
    assert "predicted success" in (tmp_path / "plan_card.html").read_text()


def test_a_tight_workspace_stops_the_arm(untrained, tmp_path):
    box = "arm.limits.workspace_high=[0.3,0.0,0.1]"
    assert call(f"checkpoint={untrained}", f"out={tmp_path}", box, "loop.max_rejections=2") == 0
    data = json.loads((tmp_path / "plan.json").read_text())
    assert data["ended"] == "rejected" and data["rejected"] == 2
    assert "workspace" in data["log"][0]["receipt"]["reason"]
    assert "Rejected by the safety gate" in (tmp_path / "plan_card.html").read_text()


def test_a_checkpoint_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert call(f"checkpoint={tmp_path}", f"out={tmp_path / 'out'}") == 2
    assert "there is no checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
