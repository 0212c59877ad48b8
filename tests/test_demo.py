"""The demo's driver: what each stage gets, how the time is shared, and going on after a stop."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_layout import ROOT, load

TOY = """
import pathlib, sys
folder = pathlib.Path(__file__).parent
stage = pathlib.Path(__file__).stem
with open(folder / "calls", "a") as calls:
    calls.write(" ".join([stage, *sys.argv[1:]]) + "\\n")
sys.exit(3 if (folder / ("fail_" + stage)).exists() else 0)
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The driver over scripts that only write down how they were called."""
    module = load(ROOT / "scripts" / "demo.py")
    for stage in module.STAGES:
        (tmp_path / f"{stage}.py").write_text(TOY)
    monkeypatch.setattr(module, "SCRIPTS", tmp_path)
    monkeypatch.setattr(module, "write_report", lambda out, config, seconds: out / "report.html")
    return module


def calls(folder: Path) -> list[list[str]]:
    """What was called since the last look."""
    path = folder / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.split() for line in lines]


def test_stages_follow_each_other_and_training_gets_the_rest(
    demo: ModuleType, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    config = demo.Demo(
        out=str(out),
        minutes=20,
        kept_minutes=5,
        started=time.time() - 120,
        train=["model=rssm/debug"],
    )
    assert demo.main(config) == 0
    said = calls(tmp_path)
    assert [line[0] for line in said] == list(demo.STAGES)
    collect, train, evaluate, *_ = said
    assert {f"out={out}/collect", "task=grasp_rotate_place"} <= set(collect)
    assert {f"data={out}/collect", "model=rssm/debug", "learning.updates=null"} <= set(train)
    assert f"checkpoint={out}/train" in evaluate
    (minutes,) = [float(s.partition("=")[2]) for s in train if s.startswith("learning.minutes=")]
    assert 12.5 < minutes <= 13.0  # 20, less the 5 kept and the 2 spent before
    assert demo.main(config) == 0
    assert calls(tmp_path) == []


def test_goes_on_where_it_stopped_with_the_same_training(demo: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = demo.Demo(out=str(out), started=time.time())
    (tmp_path / "fail_train").touch()
    assert demo.main(config) == 3
    assert [line[0] for line in calls(tmp_path)] == ["collect", "train"]
    minutes = json.loads((out / "demo.json").read_text())["train"]["minutes"]
    (tmp_path / "fail_train").unlink()
    config.started -= 300  # later, and yet the same run is resumed
    assert demo.main(config) == 0
    said = calls(tmp_path)
    assert [line[0] for line in said] == ["train", "evaluate", "imagine", "plan"]
    assert f"learning.minutes={minutes}" in said[0]


def test_other_settings_run_a_stage_again_and_what_follows_training(
    demo: ModuleType, tmp_path: Path
) -> None:
    config = demo.Demo(out=str(tmp_path / "out"))
    demo.main(config)
    calls(tmp_path)
    config.evaluate = ["episodes=3"]
    demo.main(config)
    assert [line[0] for line in calls(tmp_path)] == ["evaluate"]
    config.train = ["learning.batch_size=8"]
    demo.main(config)
    assert [line[0] for line in calls(tmp_path)] == ["train", "evaluate", "imagine", "plan"]


def test_time_that_is_over_leaves_the_shortest_training(demo: ModuleType) -> None:
    config = demo.Demo(minutes=20, kept_minutes=5, shortest_training_minutes=6)
    assert demo.training_minutes(config, spent_s=3600) == 6
