"""The doctor finds what works, names what does not and how to mend it, and needs nothing to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.test_layout import load

SCRIPT = Path(__file__).parents[1] / "scripts" / "doctor.py"


@pytest.fixture(scope="module")
def doctor() -> ModuleType:
    return load(SCRIPT)


def test_runs_on_an_empty_python(tmp_path: Path) -> None:
    """Without site-packages: what is missing is named, with the line that mends it."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "torch" in done.stdout and "make setup" in done.stdout
    assert "Traceback" not in done.stderr


def test_this_machine_is_usable(doctor: ModuleType) -> None:
    for check in ("python", "packages", "gpu", "precision", "threads"):
        (finding,) = doctor.CHECKS[check]()
        assert finding.state != doctor.BAD, finding
        assert finding.said


def test_draws_here(doctor: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    (finding,) = doctor.renderer()
    assert finding.state == doctor.GOOD, finding
    assert "frames/s" in finding.said


def test_a_wrong_choice_of_renderer_is_mended_by_another(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = {"egl": (0.0, "no device"), "osmesa": (900.0, "")}
    monkeypatch.setattr(doctor, "_draw", draws.__getitem__)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    (finding,) = doctor.renderer()
    assert finding.state == doctor.BAD
    assert "no device" in finding.said
    assert finding.mend == "export MUJOCO_GL=osmesa"
    monkeypatch.delenv("MUJOCO_GL")
    assert doctor.renderer()[0].state == doctor.GOOD


@pytest.mark.parametrize(
    ("manager", "root", "line"),
    [
        ("apt-get", True, "apt-get update && apt-get install -y libegl1 libgl1"),
        ("apt-get", False, "sudo apt-get update && sudo apt-get install -y libegl1 libgl1"),
        ("dnf", False, "sudo dnf install"),
        ("none", False, "package manager"),
    ],
)
def test_no_renderer_names_the_line_that_installs_one(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch, manager: str, root: bool, line: str
) -> None:
    monkeypatch.setattr(doctor, "_draw", lambda backend: (0.0, "nothing there"))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name if name == manager else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    (finding,) = doctor.renderer()
    assert finding.state == doctor.BAD
    assert finding.mend.startswith(line) or line in finding.mend
    assert doctor.main(["--only", "renderer"]) == 2


def test_installs_a_renderer_only_when_asked_and_none_answers(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    def draw(backend: str) -> tuple[float, str]:
        installed = any("libosmesa6" in command for command in commands)
        return (700.0, "") if backend == "osmesa" and installed else (0.0, "nothing there")

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(doctor, "_draw", draw)
    monkeypatch.setattr(doctor.subprocess, "run", run)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name if name == "apt-get" else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert doctor.main(["--only", "renderer"]) == 2
    assert commands == []
    assert doctor.main(["--only", "renderer", "--install"]) == 0
    assert [command[:2] for command in commands] == [
        ["apt-get", "update"],
        ["apt-get", "install"],  # EGL first; here it does not help
        ["apt-get", "install"],
    ]
    commands.clear()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # neither root nor sudo
    assert doctor.main(["--only", "renderer", "--install"]) == 2
    assert commands == []


def test_missing_extras_are_notes_with_their_line(
    doctor: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    found = {finding.what: finding for finding in doctor.extras()}
    assert "[tracking]" in found["tracking"].mend
    assert {finding.state for finding in found.values()} == {doctor.FAIR}
