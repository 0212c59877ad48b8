"""What every measured process says and hears, ours and theirs: lines of JSON over its standard streams.

    process -> {"name": ..., "version": ..., ...}   once, when it is ready
    asked   -> {"calls": 3}
    process -> {"seconds": [0.0841, 0.0838, 0.0840], "cpu_seconds": [0.0838, 0.0836, 0.0837],
                "peak_mib": 812.0}
    asked   -> {"profile": 10}                      once, at the end
    process -> {"gflop": 20.3, "in_mujoco": null,
                "top": [{"what": "aten::mm", "share": 0.31, "calls": 640}, ...]}

``gflop`` are the products and convolutions of one call, backward ones among them, as PyTorch's own counter
has them; where there is no PyTorch, or it cannot count, it is null. ``in_mujoco`` is the share of a call
that MuJoCo itself computes, where there is no PyTorch. ``top`` are the operations, or without PyTorch the
functions, that took most of its CPU time, without what they called.

It ends when its input does; warming up is the asker's affair. Whatever else the measured code prints
goes to standard error. ``cpu_seconds`` is the time that the process computed: what else runs on the
machine makes it wait, which ``seconds`` has in it.
"""

from __future__ import annotations

import contextlib
import cProfile
import json
import os
import pstats
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
        asked = json.loads(line)
        if "profile" in asked:
            prepare()
            found = _operations if "torch" in sys.modules else _functions
            print(json.dumps(found(call, prepare, asked["profile"])), file=answers)
            continue
        wall, cpu = [], []
        for _ in range(asked["calls"]):
            prepare()
            begin, cpu_begin = time.perf_counter(), time.process_time()
            call()
            wall.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - cpu_begin)
        told = {"seconds": wall, "cpu_seconds": cpu, "peak_mib": _peak_mib()}
        print(json.dumps(told), file=answers)


def _peak_mib() -> float:
    """Largest resident memory so far; getrusage has that of whoever started the process, if it was larger."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _operations(
    call: Callable[[], object], prepare: Callable[[], object], most: int
) -> dict[str, Any]:
    """What PyTorch counted, and its profiler saw, in one call each."""
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    counter, gflop = FlopCounterMode(display=False), None
    with contextlib.suppress(RuntimeError), counter:  # it trips over a module of tensordict's
        call()
        gflop = counter.get_total_flops() / 1e9
    prepare()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        call()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    top = [
        {"what": event.key, "share": event.self_cpu_time_total / total, "calls": event.count}
        for event in events[:most]
    ]
    return {"gflop": gflop, "in_mujoco": None, "top": top}


def _functions(
    call: Callable[[], object], prepare: Callable[[], object], most: int
) -> dict[str, Any]:
    """What Python's profiler saw in one call."""
    profiler = cProfile.Profile()
    profiler.runcall(call)
    stats = pstats.Stats(profiler)
    total = stats.total_tt  # type: ignore[attr-defined]
    rows = [
        {"what": _name(*where), "share": own / total, "calls": calls}
        for where, (_, calls, own, _, _) in stats.stats.items()  # type: ignore[attr-defined]
    ]
    rows.sort(key=lambda row: -row["share"])
    mujoco = sum(row["share"] for row in rows if row["what"].startswith("mujoco."))
    return {"gflop": None, "in_mujoco": mujoco, "top": rows[:most]}


def _name(file: str, line: int, function: str) -> str:
    """``mj_step`` for what is built in, ``env.py: step`` for the rest."""
    if file == "~":
        return function.strip("<>").removeprefix("built-in method ").split(" of ")[0]
    return f"{Path(file).name}: {function}"
