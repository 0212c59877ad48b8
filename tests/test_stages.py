"""Scripts in a row: each once, going on after a stop, and again where what it needs was made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from robowm.errors import UserError
from robowm.stages import Stage, run_all

TOY = """
import pathlib, sys
folder = pathlib.Path(__file__).parent
with open(folder / "calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
sys.exit(3 if (folder / ("fail_" + sys.argv[1])).exists() else 0)
"""
QUIET = Console(quiet=True)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder with one script, which only writes down how it was called."""
    (tmp_path / "toy.py").write_text(TOY)
    return tmp_path


def stages(train: str = "fast") -> list[Stage]:
    return [
        Stage("collect", "toy", ("collect",)),
        Stage("train", "toy", ("train", train), ("collect",)),
        Stage("evaluate", "toy", ("evaluate",), ("collect", "train")),
        Stage("other", "toy", ("other",)),
    ]


def calls(folder: Path) -> list[str]:
    """What was called since the last look."""
    path = folder / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [line.split()[0] for line in lines]


def test_each_runs_once(scripts: Path) -> None:
    out = scripts / "out"
    code, seconds = run_all(stages(), out, scripts, QUIET)
    assert code == 0 and set(seconds) == {"collect", "train", "evaluate", "other"}
    assert calls(scripts) == ["collect", "train", "evaluate", "other"]
    assert run_all(stages(), out, scripts, QUIET)[0] == 0
    assert calls(scripts) == []


def test_goes_on_at_the_stage_that_stopped(scripts: Path) -> None:
    out = scripts / "out"
    (scripts / "fail_train").touch()
    assert run_all(stages(), out, scripts, QUIET)[0] == 3
    assert calls(scripts) == ["collect", "train"]
    (scripts / "fail_train").unlink()
    assert run_all(stages(), out, scripts, QUIET)[0] == 0
    assert calls(scripts) == ["train", "evaluate", "other"]


def test_other_settings_run_a_stage_again_and_what_needs_it(scripts: Path) -> None:
    out = scripts / "out"
    run_all(stages(), out, scripts, QUIET)
    calls(scripts)
    assert run_all(stages(train="slow"), out, scripts, QUIET)[0] == 0
    assert calls(scripts) == ["train", "evaluate"]


def test_a_damaged_diary_is_a_sentence(scripts: Path) -> None:
    (scripts / "stages.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        run_all(stages(), scripts, scripts, QUIET)


def test_side_by_side_each_runs_once_and_after_what_it_needs(scripts: Path) -> None:
    out = scripts / "out"
    code, seconds = run_all(stages(), out, scripts, QUIET, jobs=2)
    assert code == 0 and set(seconds) == {"collect", "train", "evaluate", "other"}
    called = calls(scripts)
    assert sorted(called) == ["collect", "evaluate", "other", "train"]
    assert called.index("collect") < called.index("train") < called.index("evaluate")
    assert run_all(stages(), out, scripts, QUIET, jobs=2)[0] == 0
    assert calls(scripts) == []


def test_side_by_side_a_failure_keeps_only_what_needs_it_from_running(scripts: Path) -> None:
    out = scripts / "out"
    (scripts / "fail_train").touch()
    assert run_all(stages(), out, scripts, QUIET, jobs=2)[0] == 3
    assert sorted(calls(scripts)) == ["collect", "other", "train"]
    (scripts / "fail_train").unlink()
    assert run_all(stages(), out, scripts, QUIET, jobs=2)[0] == 0
    assert calls(scripts) == ["train", "evaluate"]


def test_side_by_side_other_settings_run_a_stage_again_and_what_needs_it(scripts: Path) -> None:
    out = scripts / "out"
    run_all(stages(), out, scripts, QUIET, jobs=2)
    calls(scripts)
    assert run_all(stages(train="slow"), out, scripts, QUIET, jobs=2)[0] == 0
    assert calls(scripts) == ["train", "evaluate"]
