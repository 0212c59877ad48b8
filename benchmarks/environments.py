"""Environments for the libraries that robowm is measured beside (scripts/benchmark.py suite=peers).

    python benchmarks/environments.py torchrl | robosuite | gymnasium-robotics

makes .venv-peer-<name> from the pinned benchmarks/requirements-<name>.txt. The one of torchrl sees the packages of
the environment that this runs in, so that it computes with the same torch; the others stand alone,
each with the MuJoCo that it works with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = {  # by environment, what must import
    "torchrl": "torch, torchrl, tensordict, tensorboard, hydra",
    "robosuite": "robosuite",
    "gymnasium-robotics": "gymnasium_robotics",
}
SEES_PROJECT = ("torchrl",)


def make(name: str) -> None:
    # Linked to the Python that this environment was made from, not to the environment itself.
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    folder = ROOT / f".venv-peer-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    run(base, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    requirements = ROOT / "benchmarks" / f"requirements-{name}.txt"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-compile", "--no-deps", "-r", requirements)
    if name in SEES_PROJECT:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (folder / "lib" / version / "site-packages" / "zz_project.pth").write_text(
            f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
        )
    run(python, "-W", "ignore", "-c", f"import {MODULES[name]}")


def run(*command: object) -> None:
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([str(part) for part in command], env=environ)
    if done.returncode:
        raise SystemExit(f"this failed: {' '.join(map(str, command))}")


if __name__ == "__main__":
    names = sys.argv[1:]
    if not names or not set(names) <= set(MODULES):
        raise SystemExit(f"usage: python benchmarks/environments.py {' | '.join(MODULES)}")
    for name in names:
        make(name)
