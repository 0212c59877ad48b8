"""The demo and the recipe: which scripts they run, with what."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from robowm.errors import UserError
from tests.test_layout import ROOT, load


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list:
    return []


def driver(name: str, ran: list, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script over stages that are only written down."""
    module = load(ROOT / "scripts" / f"{name}.py")

    def run_all(stages, *_):
        ran.extend(stages)
        return 0, {stage.name: 1.0 for stage in stages}

    monkeypatch.setattr(module, "run_all", run_all)
    monkeypatch.setattr(module, "write_report", lambda out, *_: out / "report.html")
    return module


def test_the_recipe_hands_on_what_it_makes(ran, monkeypatch, tmp_path: Path) -> None:
    recipe = driver("recipe", ran, monkeypatch)
    data = {"plain": ["episodes=3"], "other": ["task=slip"]}
    config = recipe.Recipe(out=str(tmp_path), randomise=["pose"], data=data, train=["a=1"])
    assert recipe.main(config) == 0
    names = ["data_plain", "data_other", "train", "evaluate", "imagine", "plan"]
    assert [stage.name for stage in ran] == names
    plain, other, train, evaluate, *_ = ran
    given = {"task=grasp_rotate_place", "task.randomise=[pose]"}
    assert given | {f"out={tmp_path}/data_plain", "episodes=3"} == set(plain.settings)
    assert [s for s in other.settings if s.startswith("task=")] == ["task=slip"]
    assert given | {"a=1"} <= set(train.settings)
    assert f"data=[{tmp_path}/data_plain,{tmp_path}/data_other]" in train.settings
    assert f"checkpoint={tmp_path}/train" in evaluate.settings
    assert plain.needs == () and train.needs == ("data_plain", "data_other")
    assert all(stage.needs == ("data_plain", "data_other", "train") for stage in ran[3:])


def test_a_recipe_without_data_is_a_sentence(ran, monkeypatch) -> None:
    recipe = driver("recipe", ran, monkeypatch)
    with pytest.raises(UserError, match="data is empty"):
        recipe.main(recipe.Recipe())


def test_the_demo_plans_with_shipped_checkpoints(ran, monkeypatch, tmp_path: Path) -> None:
    demo = driver("demo", ran, monkeypatch)
    assert demo.main(demo.Demo(out=str(tmp_path), keep_out=["episodes=3"])) == 0
    assert [(stage.name, stage.script) for stage in ran] == [
        ("evaluate", "evaluate"),
        ("keep_out", "evaluate"),
        ("plan", "plan"),
    ]
    assert "checkpoint=grasp_rotate_place" in ran[0].settings
    assert {"checkpoint=keep_out", "episodes=3"} <= set(ran[1].settings)
    assert all(stage.needs == () for stage in ran)
