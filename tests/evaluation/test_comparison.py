"""Comparing reports: what is pooled, how rows are called, and what is refused."""

import json

import pytest

import compare as script
from robowm import cli
from robowm.errors import UserError
from robowm.evaluation import comparison
from robowm.evaluation.metrics import wilson

PLANNER = {"kind": "mppi", "samples": 64, "horizon": 4, "policy_samples": 24, "proposals": None}


def row(agent, successes, **extra):
    episodes = [
        {"seed": i, "success": s, "position_error_m": 0.01, "rotation_error_rad": None}
        for i, s in enumerate(successes)
    ]
    found = {
        "task": "reach", "agent": agent, "split": "test", "seed": 0, "checkpoint": None,
        "success": sum(successes) / len(successes), "ms_per_action": 2.0, "source": "here",
        "episode_results": episodes,
    }  # fmt: skip
    return found | extra


def learned(agent, successes, seed, **extra):
    return row(agent, successes, **{"checkpoint": f"run{seed}", "train_seed": seed} | extra)


def write(path, data, curve=None):
    path.mkdir(parents=True)
    (path / "report.json").write_text(json.dumps(data))
    if curve:
        (path / "curve.json").write_text(json.dumps({"curve": curve}))
    return path


def test_training_seeds_are_pooled_and_shown():
    rows = [
        row("random", [False] * 4),
        learned("sac", [True, True, False, False], 0, env_steps=100, minutes=1.0),
        learned("sac", [True, True, True, True], 1, env_steps=300, minutes=2.0),
    ]
    sac, random = comparison.compare(rows)["rows"]
    assert (sac["agent"], random["agent"]) == ("sac", "random")  # floors last
    assert (sac["success"], sac["success_low"], sac["success_high"]) == wilson(6, 8)
    assert [seed["success"] for seed in sac["seeds"]] == [0.5, 1.0]
    assert (sac["env_steps"], sac["minutes"]) == (200, 1.5)
    assert sac["position_error_cm"] == pytest.approx(1.0) and sac["rotation_error_deg"] is None
    assert random["env_steps"] is None and not comparison.curves([random])


def test_the_same_evaluation_counts_once_and_two_results_do_not_mix():
    expert = row("expert", [True, True])
    assert comparison.compare([expert, dict(expert)])["rows"][0]["episodes"] == 2
    early, late = (learned("actor", [True], 0, checkpoint=c) for c in ("step_1", "step_2"))
    with pytest.raises(UserError, match="two results of 'actor'"):
        comparison.compare([early, late])
    late["label"] = "actor, late"
    assert len(comparison.compare([early, late])["rows"]) == 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([{}], ["mppi"]),
        ([{}, {"proposals": "cloning"}], ["mppi", "mppi"]),
        ([{}, {"kind": "cem"}], ["mppi", "cem"]),
        ([{"horizon": 3}, {"horizon": 5}], ["mppi, horizon=3", "mppi, horizon=5"]),
        ([{"proposals": "none", "policy_samples": 0}], ["mppi without proposals"]),
        ([{"proposals": "none"}, {"proposals": "all"}], ["mppi without proposals", "mppi"]),
        (
            [{"proposals": "none"}, {"proposals": "actor_critic"}, {}],
            ["mppi without proposals", "mppi, proposals=actor_critic", "mppi, proposals=cloning"],
        ),
    ],
)
def test_planners_are_called_by_what_differs(settings, expected):
    rows = [row("planner", [True], planner=PLANNER | some) for some in settings]
    assert comparison.labels(rows) == expected


def test_the_script_reads_folders_files_and_labels(tmp_path):
    two = [row("planner", [True], planner=PLANNER), row("nothing", [False])]
    write(tmp_path / "runs" / "a", two[0] | {"rows": two})
    points = [
        {"env_steps": s, "minutes": s / 100, "success": s / 200, "success_low": 0, "success_high": 1}
        for s in (100, 200)
    ]  # fmt: skip
    ppo = write(tmp_path / "ppo", learned("ppo", [True], 3, env_steps=200, minutes=2.0), points)
    out = tmp_path / "out"
    reports = f"reports=[{tmp_path / 'runs'},mine:{ppo / 'report.json'}]"
    short = write(
        tmp_path / "short", learned("actor", [True], 3, env_steps=9, updates=2, minutes=1.0)
    )
    assert cli.call(script.main, "compare", [reports, f"curves=[{short}]", f"out={out}"]) == 0
    data = json.loads((out / "compare.json").read_text())
    assert [found["agent"] for found in data["rows"]] == ["mppi", "mine", "nothing"]
    assert data["rows"][1]["seeds"][0]["curve"] == points
    text = (out / "compare.md").read_text()
    assert "| mine | – | 1 | 100.0% [21, 100] | – | 1.0 | – | 2.0 | 200 | 2.0 |" in text
    page = (out / "compare.html").read_text()
    assert page.count("<svg") == 2 and "minutes of training" in page
    assert (out / "success.png").stat().st_size and (out / "learning.png").stat().st_size


def test_less_data_and_shorter_trainings_are_points_of_a_curve():
    def point(env_steps, updates, minutes, success, seed=0):
        return learned(
            "actor", success, seed, env_steps=env_steps, updates=updates, minutes=minutes,
            checkpoint=f"{env_steps}/{updates}/{seed}",
        )  # fmt: skip

    points = [
        point(900, 20, 4.0, [True, True]),
        point(900, 20, 6.0, [True, False], seed=1),
        point(900, 10, 2.0, [True, False]),
        point(300, 20, 4.0, [False, False]),
    ]
    end = points[0] | {"label": "actor"}
    data = comparison.compare([end], points)
    assert [(p["env_steps"], p["updates"], p["episodes"]) for p in data["points"]] == [
        (300, 20, 2), (900, 10, 2), (900, 20, 4),
    ]  # fmt: skip
    over_data, over_time = data["curves"]["actor"]
    assert [(p["env_steps"], p["success"]) for p in over_data] == [(300, 0.0), (900, 0.75)]
    assert [(p["minutes"], p["success"]) for p in over_time] == [(2.0, 0.5), (5.0, 0.75)]
    assert all(p["minutes"] is None for p in over_data)  # not as much data: another curve
    assert "| actor | 300 | 20 | 4.0 | 2 | 0.0% [0, 66] |" in comparison.markdown(data)
    with pytest.raises(UserError, match="tells no training"):
        comparison.compare([end], [row("random", [True])])
    # One that was trained for longer, and one with more data, are no curve yet, nor take the others'.
    more = [point(900, 40, 8.0, [True, True]), point(2000, 20, 4.0, [True, True])]
    over_data, over_time = comparison.ladders(points + more)["actor"]
    assert [p["env_steps"] for p in over_data] == [300, 900, 2000]
    assert [p["minutes"] for p in over_time] == [2.0, 5.0, 8.0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no report.json in"),
        ("{", "is not JSON"),
        ("[]", "is no report"),
        ('{"agent": "sac"}', "has no 'task'"),
        ('{"rows": [3]}', "has no 'task'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path, capsys, content, said):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    out = tmp_path / "out"
    assert cli.call(script.main, "compare", [f"reports=[{tmp_path}]", f"out={out}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line and not out.exists()


def test_different_tasks_are_not_one_table():
    with pytest.raises(UserError, match="different tasks, grasp and reach"):
        comparison.compare([row("random", [False]), row("random", [False], task="grasp")])
