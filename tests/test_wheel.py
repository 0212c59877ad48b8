"""The wheel holds all that is needed, and works where nothing else of the repository is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="builds the wheel: pip install -e '.[dev]'")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = out.glob("robowm-*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel in it; heavy dependencies are lent by this one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=os.name == "posix")
    scheme = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # what pip does with a pure wheel
    # A folder of links, not this environment itself: its editable install would answer instead.
    lent = folder / "lent"
    lent.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "robowm" not in entry.name and entry.suffix != ".pth":
            (lent / entry.name).symlink_to(entry)
    (site / "lent.pth").write_text(f"{lent}\n")
    return Path(sysconfig.get_path("scripts", "venv", vars=scheme)) / "python"


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"robowm", "robowm_envs"}
    for package, folder in (("robowm", "robowm"), ("robowm_envs", "envs/robowm_envs")):
        for path in (ROOT / folder).rglob("*.py"):
            assert f"{package}/{path.relative_to(ROOT / folder).as_posix()}" in names
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert f"robowm/configs/{path.relative_to(ROOT / 'configs').as_posix()}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_imports_without_a_display(python: Path, tmp_path: Path) -> None:
    code = """
import robowm, robowm_envs
from robowm import config
assert config.folder().parent.name == "robowm", config.folder()
assert "grasp_rotate_place" in config.options("task")
print(robowm.__version__, robowm.__file__, robowm_envs.__file__)
"""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYTHONPATH", "PYTHONHOME")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    done = subprocess.run(
        [python, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    version, *files = done.stdout.split()
    assert version in str(next(python.parents[1].rglob("robowm-*.dist-info")))
    for file in files:
        assert str(ROOT) not in file
        assert file.startswith(str(python.parents[1]))
