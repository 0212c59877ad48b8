"""The command line: what composes, and the sentence for what does not."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import MISSING

from robowm import cli, config
from robowm.config import TaskConfig
from robowm.errors import UserError
from robowm.models.rssm import RSSMConfig
from robowm.planning.cem import CEMConfig
from robowm.planning.mppi import MPPIConfig


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast.

    Attributes:
      rate, ratio: of the wheel,
        in hertz.
    """

    rate: float = 1.5
    ratio: int = 2
    limit: int | None = None


@dataclasses.dataclass
class Toy:
    """Attributes:
    data: where it is.
    """

    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    model: Any = MISSING
    planner: Any = MISSING
    speed: Speed = dataclasses.field(default_factory=Speed)
    data: str = MISSING
    out: str = "somewhere"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Toy]:
    """configs/ with a script of our own in it; what its main received."""
    for path in config.folder().rglob("*.yaml"):
        copy = tmp_path / path.relative_to(config.folder())
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    defaults = [{"task": "???"}, {"model": "rssm/small"}, {"planner": "mppi"}, "_self_"]
    write(tmp_path / "toy.yaml", {"defaults": ["base_toy", *defaults], "speed": {"rate": 2}})
    preset = {"defaults": [{"override /model": "rssm/debug"}], "speed": {"rate": 9.0, "ratio": 3}}
    path = tmp_path / "preset/debug/toy.yaml"
    write(path, preset)
    path.write_text("# @package _global_\n" + path.read_text())
    (tmp_path / "preset" / "other").mkdir()
    monkeypatch.setattr(config, "folder", lambda: tmp_path)
    return []


def write(path: Path, data: Any) -> None:
    path.write_text(yaml.safe_dump(data))


def call(received: list[Toy], *arguments: str) -> int:
    def main(settings: Toy) -> None:
        received.append(settings)

    main.__annotations__["settings"] = Toy
    return cli.call(main, "toy", arguments)


def test_files_are_typed_by_the_dataclasses(toy: list[Toy]) -> None:
    assert call(toy, "task=reach", "data=here") == 0
    (got,) = toy
    assert got.task == TaskConfig(name="reach")
    assert isinstance(got.model, RSSMConfig)
    assert isinstance(got.planner, MPPIConfig)
    assert got.speed == Speed(rate=2.0)
    assert (got.data, got.out) == ("here", "somewhere")
    assert got.task.arguments()["cameras"] == ("front", "wrist")


def test_command_line_comes_over_preset_over_file(toy: list[Toy]) -> None:
    arguments = ["speed.ratio=7", "planner=cem", "planner.horizon=3", "speed.limit=4"]
    assert call(toy, "task=slip", "data=d", "+preset=debug", *arguments) == 0
    (got,) = toy
    assert got.speed == Speed(rate=9.0, ratio=7, limit=4)
    assert got.model.deter == 32
    assert isinstance(got.planner, CEMConfig)
    assert got.planner.horizon == 3


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("task=rech", "unknown task 'rech': did you mean 'reach'?"),
        ("model=rssm/smal", "did you mean 'rssm/small'"),
        ("planner=mpi", "did you mean 'mppi'?"),
        ("model.dter=3", "unknown key 'model.dter': did you mean model.deter"),
        ("rate=3", "unknown key 'rate': did you mean speed.rate?"),
        ("planer=cem", "unknown key 'planer': did you mean planner"),
        ("speed.ratio.deep=1", None),
        ("+extra=1", "unknown key 'extra'"),
        ("model.deter=wide", "model.deter: Value 'wide' of type 'str' could not be converted"),
        ("speed.limit=1.5", "speed.limit"),
        ("speed=3", "speed"),
        ("+preset=fast", "unknown preset 'fast': choose one of debug"),
        ("+preset=other", "preset 'other' has nothing for toy"),
        ("data=[", "settings are key=value"),
        ("--multirun", "unknown option --multirun"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    toy: list[Toy], capsys: pytest.CaptureFixture[str], argument: str, said: str | None
) -> None:
    assert call(toy, "task=reach", "data=d", argument) == 2
    assert not toy
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert (said or "") in error


def test_what_must_be_given_is_asked_for(
    toy: list[Toy], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(toy, "data=d") == 2
    assert "toy needs task=...: choose one of grasp" in capsys.readouterr().err
    assert call(toy, "task=reach") == 2
    assert "toy needs data=... on its command line" in capsys.readouterr().err


def test_help_and_cfg_run_nothing(
    toy: list[Toy], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert call(toy, "--help") == 0
    shown = capsys.readouterr().out
    for part in ("rssm/debug", "speed.rate", "of the wheel, in hertz.", "(must be given)"):
        assert part in shown
    assert call(toy, "task=reach", "speed.rate=4", "--cfg") == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    assert settings["speed"] == {"rate": 4.0, "ratio": 2, "limit": None}
    assert settings["data"] == "???"
    assert not toy


def test_errors_of_main_keep_their_exit_code(
    toy: list[Toy], capsys: pytest.CaptureFixture[str]
) -> None:
    class Elsewhere(Exception):
        exit_code = 7

    def fail(error: BaseException) -> int:
        def main(settings: Toy) -> None:
            raise error

        main.__annotations__["settings"] = Toy
        return cli.call(main, "toy", ["task=reach", "data=d"])

    assert fail(UserError("the data is gone: collect it again.")) == 2
    assert capsys.readouterr().err == "error: the data is gone: collect it again.\n"
    assert fail(Elsewhere("no")) == 7
    assert fail(KeyboardInterrupt()) == 130
    with pytest.raises(ZeroDivisionError):  # a fault of ours keeps its traceback
        fail(ZeroDivisionError())


def test_stored_configurations_are_typed_again() -> None:
    stored = dataclasses.asdict(MPPIConfig(horizon=4))
    assert config.typed(MPPIConfig, stored) == MPPIConfig(horizon=4)
    with pytest.raises(UserError, match="another version"):
        config.typed(MPPIConfig, stored | {"gone": 1})


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="MUJOCO_GL is chosen on Linux alone"
)
@pytest.mark.parametrize(
    ("libraries", "before", "after"),
    [
        (("EGL", "OSMesa"), None, "egl"),
        (("OSMesa",), None, "osmesa"),
        ((), None, None),
        (("EGL", "OSMesa"), "osmesa", "osmesa"),
        (("EGL",), "glfw", "glfw"),
        (("EGL",), "osmesa", UserError),
        (("EGL",), "opengl", UserError),
    ],
)
def test_renderer_is_chosen_unless_it_was(
    libraries: tuple[str, ...], before: str | None, after: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    if before:
        monkeypatch.setenv("MUJOCO_GL", before)
    monkeypatch.setattr(cli, "loads", libraries.__contains__)
    if after is UserError:
        with pytest.raises(UserError, match="MUJOCO_GL="):
            cli.choose_renderer()
    else:
        cli.choose_renderer()
        assert os.environ.get("MUJOCO_GL") == after


def test_the_process_leaves_with_the_code(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "scripts" / "train.py"
    done = subprocess.run(
        [sys.executable, script, "learning.batch_sise=3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "did you mean learning.batch_size" in done.stderr
    assert not list(tmp_path.iterdir())  # nothing was written
