"""scripts/bridge.py from a checkpoint to a bag: the real scene in real time, the planner in its process."""

import json
import sys
import time

import pytest

import bridge as script
from robowm import cli
from robowm.dispatch.record.bag import bags_in, read_run
from robowm.dispatch.record.records import Event, Kind, Planned, Sent


def call(*arguments):
    return cli.call(script.main, "bridge", ["+preset=debug", "arm=sim", *arguments])


class Operator:
    """Approves the first plan that is offered and, when that is done, ends the run."""

    def __init__(self, out):
        self.cards, self.approved = out / "cards", ""

    def __iter__(self):
        end_s = time.monotonic() + 120
        while not list(self.cards.glob("*.png")) and time.monotonic() < end_s:
            time.sleep(0.05)
        self.approved = min(path.stem for path in self.cards.glob("*.png"))
        yield self.approved
        while len(list(self.cards.glob("*.png"))) < 2 and time.monotonic() < end_s:
            time.sleep(0.05)
        yield "q"


@pytest.mark.slow  # a process that loads torch, and some seconds of an episode
def test_an_operator_approves_a_plan_and_all_of_it_is_kept(untrained, tmp_path, monkeypatch):
    operator = Operator(tmp_path)
    monkeypatch.setattr(sys, "stdin", operator)
    settings = ["mode=confirm", "terminal=true", "duration_s=120", "seed=2"]
    settings.append("dispatch.approval_s=60")
    settings.append("dispatch.planner_timeout_s=30")
    assert call(f"checkpoint={untrained}", f"out={tmp_path}", *settings) == 0
    data = json.loads((tmp_path / "status.json").read_text())
    assert data["status"]["mode"] == "confirm" and data["status"]["planner_starts"] == 1
    (bag,) = bags_in(tmp_path)
    records = read_run(bag).records
    sent = [record for record in records if isinstance(record, Sent)]
    assert [record.chunk.plan_id for record in sent] == [operator.approved]
    assert sent[0].receipt.accepted
    planned = [record.plan_id for record in records if isinstance(record, Planned)]
    assert operator.approved in planned and len(planned) >= 2
    results = [r for r in records if isinstance(r, Event) and r.kind is Kind.RESULT]
    assert json.loads(results[0].message)["success"] == data["result"]["success"]
    card = json.loads((tmp_path / "cards" / f"{operator.approved}.json").read_text())
    assert card["plan_id"] == operator.approved and card["margins"]


def test_a_checkpoint_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert call(f"checkpoint={tmp_path}", f"out={tmp_path / 'out'}") == 2
    assert "there is no checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_arguments_of_ros_are_for_an_arm_of_ros_2(capsys):
    assert call("checkpoint=none", "--ros-args", "-r", "__ns:=/left") == 2
    assert "--ros-args is for arm=ros2" in capsys.readouterr().err
    assert cli.call(script.main, "bridge", ["--ros-args", "-p", "a:=1", "--", "--wrong"]) == 2
    assert "unknown option --wrong" in capsys.readouterr().err
