"""The tests of links and arms in every environment that is there, and at the end which were not.

    python ros/test.py [dds kilted jazzy ros1] [-- pytest's options]

``dds`` is the environment that this runs in; the others are made by ros/environments.py.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from environments import DISTRIBUTIONS, ROOT, clean, python_of

CONTRACTS = ("tests/dispatch/test_links.py", "tests/dispatch/test_arms.py")
# Of the contracts only what the environment adds: the rest is tested in the others.
ADDED = {"dds": "dds", "kilted": "ros2", "jazzy": "ros2", "ros1": "ros1"}
NOTHING_TO_RUN = 5  # all of it needs what another environment has; said by -rs
MADE_BY = {"kilted": "make ros-kilted", "jazzy": "make ros-jazzy", "ros1": "make ros-1"}


def main(names: list[str], options: list[str]) -> int:
    said, failed = [], False
    for name in names:
        python = Path(sys.executable) if name == "dds" else python_of(name)
        if not python.exists():
            said.append(f"NOT RUN: {name}: there is no {python.parents[1].name} ({MADE_BY[name]})")
            continue
        sys.stdout.write(f"\n== {name}\n")
        sys.stdout.flush()
        begin = time.monotonic()
        codes = [
            pytest(python, *CONTRACTS, "-k", ADDED[name], *options),
            pytest(python, "tests/ros", *options),
        ]
        passed = not set(codes) - {0, NOTHING_TO_RUN}
        failed |= not passed
        result = "passed" if passed else "FAILED"
        said.append(f"{result}: {name}, {time.monotonic() - begin:.0f} s")
    sys.stdout.write("\n== ros-test\n" + "\n".join(said) + "\n")
    return int(failed)


def pytest(python: Path, *arguments: str) -> int:
    command = [str(python), "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, env=clean() | {"OMP_NUM_THREADS": "1"}).returncode


if __name__ == "__main__":
    known = ("dds", *DISTRIBUTIONS)
    names, _, options = " ".join(sys.argv[1:]).partition("--")
    if not set(names.split()) <= set(known):
        raise SystemExit(f"usage: python ros/test.py [{' '.join(known)}] [-- pytest's options]")
    raise SystemExit(main(names.split() or list(known), options.split()))
