"""What every measured process says and hears, ours and theirs: lines of JSON over its standard streams.

    process -> {"name": ..., "version": ..., ...}   once, when it is ready
    asked   -> {"calls": 3}
    process -> {"seconds": [0.0841, 0.0838, 0.0840], "cpu_seconds": [0.0838, 0.0836, 0.0837],
                "peak_mib": 812.0}

It ends when its input does; warming up is the asker's affair. Whatever else the measured code prints
goes to standard error. ``cpu_seconds`` is the time that the process computed: what else runs on the
machine makes it wait, which ``seconds`` has in it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def settings() -> dict[str, Any]:
    """What this process was asked to measure: its only argument, JSON."""
    told: dict[str, Any] = json.loads(sys.argv[1])
    return told


def quiet() -> Any:
    """The stream to answer on; from here on, what is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def commit(folder: Path) -> str:
    """The commit that a clone is at, in short; with a plus where files differ from it."""
    git = ("git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*")
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


def serve(
    answers: Any,
    facts: Mapping[str, Any],
    call: Callable[[], object],
    prepare: Callable[[], object] = lambda: None,
) -> None:
    """Tell the facts, then time ``call`` as often as is asked, until the input ends.

    Args:
      facts: ``name`` and ``version``, how many things a call does in ``count``, and what else a reader
        of the table should know.
      prepare: what happens before each call and is not timed.
    """
    print(json.dumps({"count": 1, **facts}), file=answers)
    for line in sys.stdin:
        wall, cpu = [], []
        for _ in range(json.loads(line)["calls"]):
            prepare()
            begin, cpu_begin = time.perf_counter(), time.process_time()
            call()
            wall.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - cpu_begin)
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told = {"seconds": wall, "cpu_seconds": cpu, "peak_mib": peak_mib}
        print(json.dumps(told), file=answers)
