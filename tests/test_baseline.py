"""scripts/baseline.py by its command line: both algorithms with a tiny budget, and mistakes."""

import builtins
import json

import pytest
from safetensors.torch import load_file

import baseline as script
from robowm import cli

TINY = ["+preset=debug", "task=reach"]


def call(*arguments):
    return cli.call(script.main, "baseline", [*TINY, *arguments])


@pytest.mark.parametrize("algorithm", script.ALGORITHMS)
def test_it_trains_and_reports_as_evaluate_does(algorithm, tmp_path):
    pytest.importorskip("stable_baselines3", reason="pip install 'robowm[baselines]'")
    settings = [f"algorithm={algorithm}", "seed=3", "sac.normalise=true"]
    assert call(*settings, f"out={tmp_path}") == 0
    row = json.loads((tmp_path / "report.json").read_text())
    assert (row["task"], row["agent"], row["train_seed"]) == ("reach", algorithm, 3)
    assert row["observation"] == "state" and row["split"] == "test"
    assert [episode["seed"] for episode in row["episode_results"]] == [0, 1]
    assert 300 <= row["env_steps"] <= 512 and row["minutes"] > 0 and row["updates"] > 0
    curve = json.loads((tmp_path / "curve.json").read_text())["curve"]
    assert [point["episodes"] for point in curve] == [1] * (len(curve) - 1) + [2]
    assert curve[-1]["env_steps"] == row["env_steps"] and curve[-1]["success"] == row["success"]
    assert len(list((tmp_path / "policies").iterdir())) == len(curve)
    weights = load_file(row["checkpoint"])
    assert ("mean.proprio" in weights) == (algorithm == "sac")
    assert any(name.startswith("policy.") for name in weights)
    assert "Success against what it cost" in (tmp_path / "report.html").read_text()
    assert call(f"algorithm={algorithm}", f"out={tmp_path}", "again=true") == 2  # it has ended


def test_what_was_stopped_begins_anew_where_it_is_told_to(tmp_path, capsys):
    """A study that was stopped in a baseline could not be gone on with."""
    pytest.importorskip("stable_baselines3", reason="pip install 'robowm[baselines]'")
    (tmp_path / "policies").mkdir()
    stale = tmp_path / "policies" / "step_00000007.safetensors"
    stale.touch()
    (tmp_path / "curve.json").write_text("{}")
    assert call("algorithm=ppo", f"out={tmp_path}") == 2
    assert "again=true" in capsys.readouterr().err and stale.exists()
    assert call("algorithm=ppo", f"out={tmp_path}", "again=true") == 0
    assert (tmp_path / "report.json").exists() and not stale.exists()


def test_what_no_run_left_there_stays(tmp_path):
    pytest.importorskip("stable_baselines3", reason="pip install 'robowm[baselines]'")
    (tmp_path / "policies").mkdir()
    theirs = tmp_path / "policies" / "terms.txt"
    theirs.touch()
    assert call("algorithm=ppo", f"out={tmp_path}", "again=true") == 0
    assert theirs.exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["algorithm=sca"], "did you mean 'sac'"),
        (["steps=0"], "steps is 0"),
        (["task.observation=pixels"], "learn from the state"),
        (["split=tset"], "test"),
        (["sac.gama=1"], "did you mean sac.gamma"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, capsys, settings, said):
    assert call(*settings, f"out={tmp_path / 'out'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert not (tmp_path / "out").exists()


def test_a_missing_package_names_the_line_that_installs_it(tmp_path, capsys, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.partition(".")[0] == "stable_baselines3":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    assert call(f"out={tmp_path / 'out'}") == 2
    assert "pip install 'robowm[baselines]'" in capsys.readouterr().err
