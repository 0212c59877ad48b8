"""The study: each stage once, in an order that works, and a table from what is there."""

from __future__ import annotations

import json

import pytest

import study
from robowm import config
from robowm.errors import UserError
from tests.evaluation.test_comparison import learned, write


def composed(*settings: str) -> study.Study:
    return config.finish("study", config.compose("study", study.Study, settings))


def test_the_shipped_study_names_only_what_it_has():
    study.check(composed())


def test_every_stage_comes_once_and_after_what_it_needs():
    stages = study.stages(composed())
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names)
    for place, stage in enumerate(stages):
        assert set(stage.needs) <= set(names[:place])


def test_only_asks_for_what_a_table_needs():
    names = {stage.name for stage in study.stages(composed("only=[labels]"))}
    assert {"data_d300", "main_s2", "eval_labels_grasp_s0"} <= names
    assert not names & {"sac_s0", "eval_no_slot_s0"}


@pytest.mark.parametrize(
    "wrong", ["only=[nothing]", "trials.main.of=nobody", "variants.main.data=[none]", "jobs=0"]
)
def test_what_nothing_bears_is_a_sentence(wrong):
    with pytest.raises(UserError):
        study.check(composed(wrong))


def test_a_table_is_made_of_what_is_there_and_pools_seeds(tmp_path):
    made = composed(f"out={tmp_path}")
    assert study.table(made, "comparison", tmp_path) == ""
    for seed in (0, 1):
        write(tmp_path / "trials" / f"main_s{seed}", learned("cloning", [True, False], seed))
    text = study.table(made, "comparison", tmp_path)
    assert "cloning" in text
    pooled = json.loads((tmp_path / "tables" / "comparison" / "compare.json").read_text())
    assert [len(row["seeds"]) for row in pooled["rows"]] == [2]
