"""The house rules that no tool checks."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from robowm import cli, config

ROOT = Path(__file__).parents[1]
LIBRARY = sorted([*(ROOT / "robowm").rglob("*.py"), *(ROOT / "envs").rglob("*.py")])
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
COMPOSED = [path for path in SCRIPTS if path.stem != "doctor"]  # it runs before Hydra is installed
TEXTS = (".py", ".md", ".toml", ".yaml", ".yml", ".json", ".sh", ".html", "")
GENERATED = {"build", "dist", "outputs", "wandb"}


def load(path: Path) -> ModuleType:
    """A script as a module, without running it."""
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their annotations up there
    spec.loader.exec_module(module)
    return module


def name_of(path: Path) -> str:
    return path.stem


def test_there_is_something_to_check() -> None:
    assert len(LIBRARY) > 20
    assert {"collect", "demo", "doctor", "train"} <= {path.stem for path in SCRIPTS}


def test_modules_are_named_by_what_they_hold() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "misc"}
    assert [str(path) for path in LIBRARY if path.stem in vague or path.parent.name in vague] == []


def test_library_code_prints_nothing_and_edits_no_path() -> None:
    found = []
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            printing = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
            paths = isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
            bare = isinstance(node, ast.ExceptHandler) and node.type is None
            if printing or paths or bare:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_scripts_are_thin(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "main" in functions
    assert ast.get_docstring(tree), "the first line of --help"
    end = ast.unparse(tree.body[-1])
    assert end.startswith("if __name__ == '__main__'")
    if path in COMPOSED:
        assert f"cli.run(main, '{path.stem}')" in end


def test_scripts_leave_the_choice_of_renderer_open() -> None:
    """mujoco reads MUJOCO_GL when it is imported, which must come after ``cli.run`` chose it."""
    code = "import runpy, sys\n" + "\n".join(
        f"runpy.run_path({str(path)!r}, run_name='looked_at')" for path in COMPOSED
    )
    code += "\nassert not {'mujoco', 'dm_control'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", COMPOSED, ids=name_of)
def test_configs_compose_with_every_option(path: Path) -> None:
    schema = cli._schema(load(path).main)
    groups = {group: config.options(group) for group in config.chosen_groups(path.stem)}
    # The n-th option of every group at once: each option is composed without all their products.
    for n in range(max(map(len, groups.values()), default=0)):
        choices = [f"{group}={known[n % len(known)]}" for group, known in groups.items()]
        assert config.keys(config.compose(path.stem, schema, choices)), choices
    plain = config.compose(path.stem, schema, choose=True)
    for preset in config.options(config.PRESET):
        if (config.folder() / config.PRESET / preset / f"{path.stem}.yaml").is_file():
            assert config.compose(path.stem, schema, [f"+preset={preset}"], choose=True) != plain


def test_every_config_belongs_to_a_script() -> None:
    names = {path.stem for path in COMPOSED}
    assert {path.stem for path in config.folder().glob("*.yaml")} == names
    debug = {path.stem for path in (config.folder() / "preset/debug").glob("*.yaml")}
    quick = {"export"}  # in seconds as it is
    assert debug == names - quick, "+preset=debug makes any script run in seconds"


@pytest.mark.parametrize("group", sorted(config.REGISTRIES))
def test_every_registered_class_has_an_option(group: str) -> None:
    kinds = {option.partition("/")[0] for option in config.options(group)}
    assert set(config.REGISTRIES[group]) <= kinds


def test_texts_name_no_machine() -> None:
    """Paths of the machine where something was written mean nothing elsewhere."""
    somewhere = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")
    found = []
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part not in (".ci", ".github") for part in parts)
        if hidden or GENERATED & set(parts) or path.suffix not in TEXTS or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="ignore").splitlines(), 1):
            if somewhere.search(line):
                found.append(f"{'/'.join(parts)}:{number}")
    assert found == []
