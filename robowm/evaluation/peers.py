"""robowm beside its peers: the same kind of work, each in a process of its own, measured in turn.

The processes of one comparison are all started, then asked one after the other, round by round, so
that what else the machine does falls on all of them alike. Each has one thread. A process tells wall
time and the time it computed; on a machine with other work the second is the one to compare.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robowm.errors import UserError, unknown
from robowm.evaluation import benchmark
from robowm.evaluation.benchmark import digits
from robowm.evaluation.pictures import write_bytes
from robowm.evaluation.plots import CEILING, COLOURS, INK, Plot, styled
from robowm.evaluation.report import write_json
from robowm.evaluation.workloads import CLONES, GROUPS, Workload

THREADS = 1
ROUND_S = 1.0  # of each process in a round, unless one call takes longer
MOST_CALLS = 5
SLOW_S = 5.0
TOP = 10  # rows of a profile
ANSWER_S = 900.0  # one call, on a machine that does other things too
TOLD = ("name", "version", "torch", "threads", "parameters", "precision", "count")  # have columns


class NotMeasured(Exception):
    """Why a workload has no figures, and what to do, in a sentence."""


@dataclasses.dataclass
class Measured:
    """One row: what a process told and how long its calls took.

    Attributes:
      facts: as the process gave them; empty where there was none.
      wall_s, cpu_s: [rounds] medians of a round's calls, of one thing.
      peak_mib: of the process's memory.
      gflop: of one thing; None where products are not what it does.
      in_mujoco: share of a call that MuJoCo computes; None where that is not what it does.
      top: the operations or functions that took most of a call, by share of its CPU time.
      missing: why there are no figures.
    """

    workload: Workload
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    wall_s: list[float] = dataclasses.field(default_factory=list)
    cpu_s: list[float] = dataclasses.field(default_factory=list)
    peak_mib: float = 0.0
    gflop: float | None = None
    in_mujoco: float | None = None
    top: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    missing: str | None = None

    @property
    def name(self) -> str:
        stem = Path(self.workload.file).stem  # of what, and what
        return str(self.facts.get("name", stem.rpartition("_")[0].replace("_", "-") or stem))


class Process:
    """A workload's process; see benchmarks/peers/protocol.py for what is said."""

    def __init__(self, python: Path, file: Path, settings: Mapping[str, Any], log: Path):
        environ = dict(os.environ)
        if python != Path(sys.executable):
            environ.pop("PYTHONPATH", None)  # it leads to our packages
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environ[name] = str(settings["threads"])
        self._log, self.peak_mib = log, 0.0
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(file), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environ,
            )

    def facts(self) -> dict[str, Any]:
        return self._answer("name", "version", "count")

    def ask(self, calls: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Seconds of each call, wall time and time computed."""
        self._say({"calls": calls})
        told = self._answer("seconds", "cpu_seconds")
        self.peak_mib = float(told.get("peak_mib", 0.0))
        wall, cpu = np.array(told["seconds"]), np.array(told["cpu_seconds"])
        if not len(wall) == len(cpu) == calls:
            raise NotMeasured(f"it timed {len(wall)} calls, {calls} were asked for")
        return wall, cpu

    def profile(self) -> dict[str, Any]:
        """Of one call: ``gflop``, ``in_mujoco``, and what took most of its time."""
        self._say({"profile": TOP})
        return self._answer("gflop", "in_mujoco", "top")

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _say(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it died; the answer that does not come says so
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def _answer(self, *keys: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        late = threading.Timer(ANSWER_S, self._process.kill)
        late.start()
        line = self._process.stdout.readline()
        late.cancel()
        if not line:
            self._process.wait()
            last = (self._log.read_text().strip().splitlines() or ["it said nothing"])[-1]
            raise NotMeasured(f"its process ended: {last.strip()} ({self._log})")
        try:
            told = json.loads(line)
            missing = [key for key in keys if key not in told]
        except (json.JSONDecodeError, TypeError):
            missing = list(keys)
        if missing:
            raise NotMeasured(f"it answered {line.strip()[:80]!r}, without {', '.join(missing)}")
        return dict(told)


def chosen(workloads: Mapping[str, Workload], only: Sequence[str]) -> list[Workload]:
    """Those of the groups ``only``. Raises :class:`UserError` for a group that is none."""
    for group in only:
        if group not in GROUPS:
            raise unknown("member of the suite peers", group, GROUPS)
    return [workload for workload in workloads.values() if workload.group in only]


def check_clones(folders: Mapping[str, str | None]) -> dict[str, Path]:
    """The folders that were given. Raises :class:`UserError` for one that is not what it should be."""
    found = {}
    for name, folder in folders.items():
        if folder is None:
            continue
        clone = CLONES[name]
        if not (Path(folder) / clone.holds).is_file():
            raise UserError(
                f"{name}={folder} is no clone of {clone.url}, there is no {clone.holds} in it: "
                f"{clone.line()}, and give that folder."
            )
        found[name] = Path(folder).absolute()
    return found


def measure(
    workloads: Sequence[Workload],
    benchmarks: Path,
    clones: Mapping[str, Path],
    rounds: int,
    out: Path,
    say: Callable[[str], None],
) -> list[Measured]:
    """Workloads of one size, in turn.

    Args:
      benchmarks: the folder with ``peers`` and ``environments.py``.
      out: gets the standard error of each process.
      say: is told what is being done.
    """
    rows = [Measured(workload) for workload in workloads]
    with contextlib.ExitStack() as stack:
        running: list[tuple[Measured, Process, int]] = []
        for number, row in enumerate(rows):
            say(f"{row.workload.size}: {row.name} starts")
            with _told(row):
                process = _start(row.workload, benchmarks, clones, out / f"peer_{number}.log")
                stack.callback(process.close)
                row.facts = process.facts()
                wall, _ = process.ask(1)
                if wall[0] < SLOW_S:  # the first allocates, which a long call hides
                    wall, _ = process.ask(1)
                calls = min(max(1, int(ROUND_S / max(wall[0], 1e-9))), MOST_CALLS)
                running.append((row, process, calls))
        for number in range(rounds):
            for row, process, calls in running:
                if row.missing is not None:
                    continue
                say(f"{row.workload.size}: {row.name}, round {number + 1} of {rounds}")
                with _told(row):
                    wall, cpu = process.ask(calls)
                    row.wall_s.append(float(np.median(wall)) / row.facts["count"])
                    row.cpu_s.append(float(np.median(cpu)) / row.facts["count"])
                    row.peak_mib = process.peak_mib
        for row, process, _ in running:
            if row.missing is None:
                say(f"{row.workload.size}: {row.name}, profile")
                with contextlib.suppress(NotMeasured):  # its times are there
                    told = process.profile()
                    row.top, row.in_mujoco = told["top"], told["in_mujoco"]
                    if told["gflop"] is not None:
                        row.gflop = told["gflop"] / row.facts["count"]
    return rows


@contextlib.contextmanager
def _told(row: Measured) -> Any:
    try:
        yield
    except NotMeasured as reason:
        row.missing = str(reason)


def _start(workload: Workload, benchmarks: Path, clones: Mapping[str, Path], log: Path) -> Process:
    settings = {"threads": THREADS, **workload.settings}
    python = Path(sys.executable)
    if workload.environment is not None:
        python = benchmarks.parent / f".venv-peer-{workload.environment}" / "bin" / "python"
        if not python.exists():
            raise NotMeasured(
                f"there is no {python.parents[1].name}: "
                f"python benchmarks/environments.py {workload.environment}"
            )
    if workload.clone is not None:
        if workload.clone not in clones:
            raise NotMeasured(
                f"no folder was given: {CLONES[workload.clone].line()}, then {workload.clone}=FOLDER"
            )
        settings["folder"] = str(clones[workload.clone])
    return Process(python, benchmarks / "peers" / workload.file, settings, log)


def ratio(row: Measured, ours: Measured, clock: str) -> tuple[float, float, float] | None:
    """How many times ``ours`` a thing takes, round by round: median, 10th and 90th percentile."""
    theirs, reference = getattr(row, clock), getattr(ours, clock)
    if row.missing is not None or ours.missing is not None or not theirs:
        return None
    shares = np.array(theirs) / np.array(reference)
    low, middle, high = np.quantile(shares, (0.1, 0.5, 0.9))
    return float(middle), float(low), float(high)


def by_size(rows: Sequence[Measured]) -> dict[str, list[Measured]]:
    found: dict[str, list[Measured]] = {}
    for row in rows:
        found.setdefault(row.workload.size, []).append(row)
    return found


def plain(rows: Sequence[Measured]) -> list[dict[str, Any]]:
    """The rows as benchmark.json holds them."""
    found = []
    for together in by_size(rows).values():
        for row in together:
            entry = {"name": row.name, **dataclasses.asdict(row)}
            for clock in ("wall_s", "cpu_s"):
                entry[f"{clock[:-2]}_ratio"] = ratio(row, together[0], clock)
            found.append(entry)
    return found


def line(row: Measured, ours: Measured) -> str:
    """A row for the terminal."""
    if row.missing is not None:
        return f"  {row.name}: NOT MEASURED, {row.missing}"
    share = ratio(row, ours, "cpu_s")
    times = "" if share is None or row is ours else f", {_times(share)} times the first (CPU)"
    precision = f" {row.facts['precision']}" if "precision" in row.facts else ""
    wall, cpu = (digits(1e3 * float(np.median(s))) for s in (row.wall_s, row.cpu_s))
    return f"  {row.name}{precision}: {wall} ms, {cpu} ms CPU{times}"


def write(
    out: Path, facts: Mapping[str, Any], settings: Mapping[str, Any], rows: Sequence[Measured]
) -> None:
    """benchmark.json, benchmark.md and peers.png."""
    told = {"suite": "peers", "machine": facts, "config": settings, "rows": plain(rows)}
    write_json(out / "benchmark.json", told)
    write_bytes(out / "benchmark.md", markdown(facts, rows).encode())
    write_bytes(out / "peers.png", plot(rows).png())


def markdown(facts: Mapping[str, Any], rows: Sequence[Measured]) -> str:
    """The machine in a sentence, a table for each size, and what was not measured."""
    lines = ["### peers", "", benchmark.sentence(facts)]
    for size, together in by_size(rows).items():
        lines += [
            "",
            f"**{size}**",
            "",
            "| | version | precision | M parameters | wall ms | 10 to 90% | CPU ms "
            "| times the first (CPU) | times the first (wall) | GFLOP | of the limit | beside |",
            "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
        ]
        lines += [_line(row, together[0], facts) for row in together]
    lines += ["", "### profiles", "", "Share of the CPU time of one call, without what is called."]
    for size, together in by_size(rows).items():
        for row in together:
            if row.top:
                lines += ["", f"**{size}: {_labelled(row)}**", "", "| what | share | calls |"]
                lines += ["|---|--:|--:|"]
                lines += [f"| `{t['what']}` | {t['share']:.1%} | {t['calls']:,} |" for t in row.top]
    return "\n".join(lines) + "\n"


def share_of_limit(row: Measured, machine: Mapping[str, Any]) -> float | None:
    """How near it comes to what this machine can do: 1 would be nothing but the work itself.

    The rate of a call's products, as a share of that of one large product in the same precision; of an
    environment the share of a step that MuJoCo computes, seen by a profiler that slows down Python.
    """
    if not row.gflop:
        return row.in_mujoco
    rate = machine[f"gemm_{row.facts.get('precision', 'fp32')}_gflops"]
    return row.gflop / float(np.median(row.cpu_s)) / float(rate)


def _labelled(row: Measured) -> str:
    return " ".join((row.name, str(row.facts.get("precision", "")))).strip()


def _line(row: Measured, ours: Measured, machine: Mapping[str, Any]) -> str:
    facts = row.facts
    if row.missing is not None:
        return f"| {row.name} | | | | **not measured**: {row.missing} | | | | | | | |"
    limit = share_of_limit(row, machine)
    wall, cpu = 1e3 * np.array(row.wall_s), 1e3 * np.array(row.cpu_s)
    low, high = np.quantile(wall, (0.1, 0.9))
    beside = [f"{key.replace('_', ' ')} {facts[key]}" for key in facts if key not in TOLD]
    if row.workload.group == "env":
        beside.insert(0, f"{digits(1e3 / float(np.median(wall)))} steps/s")
    parameters = f"{facts['parameters'] / 1e6:.2f}" if "parameters" in facts else ""
    cells = [
        row.name,
        facts["version"],
        facts.get("precision", ""),
        parameters,
        digits(float(np.median(wall))),
        f"{digits(low)} to {digits(high)}",
        digits(float(np.median(cpu))),
        *(_times(ratio(row, ours, clock)) for clock in ("cpu_s", "wall_s")),
        "" if row.gflop is None else digits(row.gflop),
        "" if limit is None else f"{limit:.0%}",
        ", ".join(beside),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _times(share: tuple[float, float, float] | None) -> str:
    return "" if share is None else "{:.2f} ({:.2f} to {:.2f})".format(*share)


@styled
def plot(rows: Sequence[Measured]) -> Plot:
    """CPU time of each as a multiple of the first of its size, on a logarithmic axis."""
    groups = by_size(rows)
    shown = [
        (row, share)
        for together in groups.values()
        for row in together
        if (share := ratio(row, together[0], "cpu_s")) is not None
    ]
    figure = Plot(height=0.9 + 0.3 * (len(shown) + len(groups)))
    axes = figure.axes[0]
    place, places, labels = 0.0, [], []
    for size, together in groups.items():
        axes.text(
            0.0, place, f" {size}", transform=axes.get_yaxis_transform(), va="center", color=INK
        )
        place += 1
        for row, share in shown:
            if not any(row is other for other in together):
                continue
            middle, low, high = share
            ours = row.workload.environment is None
            axes.plot([low, high], [place, place], color=INK, linewidth=1.4)
            axes.plot(middle, place, "o", color=COLOURS[0] if ours else CEILING)
            axes.text(high * 1.06, place, f"{middle:.2f}", va="center", color=INK)
            places.append(place)
            labels.append(_labelled(row))
            place += 1
    axes.axvline(1.0, color=CEILING, linewidth=1.0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.12)
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("CPU time, as a multiple of the first of each group (left is faster)")
    axes.invert_yaxis()
    return figure
