"""How the cost of an update and of a plan grows with each of their sizes, one at a time.

Each point is a process of its own (benchmarks/peers), so that its peak of memory is its own, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import NullLocator

from robowm.evaluation import benchmark
from robowm.evaluation.benchmark import digits
from robowm.evaluation.peers import Measured, measure
from robowm.evaluation.pictures import write_bytes
from robowm.evaluation.plots import COLOURS, Plot, styled
from robowm.evaluation.report import write_json
from robowm.evaluation.workloads import SHIPPED, Workload

UPDATE = {"parts": "model", "precision": "fp32", "image_share": 0.125, "size": "small"}
PLAN = {"search": "all", "precision": "fp32", "iterations": 2, "elites": 32}


@dataclasses.dataclass(frozen=True)
class Axis:
    """One size that grows while the others stay.

    Attributes:
      what: is measured.
      grows: the setting of the process.
      values: of it.
      file: in benchmarks/peers.
      others: settings that stay.
      clock: ``cpu_ms``, or ``ms`` where the process is not alone in what it does.
    """

    what: str
    grows: str
    values: tuple[Any, ...]
    file: str
    others: Mapping[str, Any]
    clock: str = "cpu_ms"

    def workloads(self) -> list[Workload]:
        return [
            Workload("scale", self.what, self.file, {**SHIPPED, **self.others, self.grows: value})
            for value in self.values
        ]


AXES = {
    "batch": Axis(
        "update, rows of 16 steps", "batch", (4, 8, 16, 32, 64), "robowm_update.py",
        UPDATE | {"length": 16},
    ),
    "length": Axis(
        "update, steps of 16 rows", "length", (8, 16, 32, 64, 128), "robowm_update.py",
        UPDATE | {"batch": 16},
    ),
    "size": Axis(
        "update of 16 x 16, parameters", "size", ("debug", "small", "12m"), "robowm_update.py",
        UPDATE | {"batch": 16, "length": 16},
    ),
    "processes": Axis(
        "update, processes (16 x 16 in each)", "processes", (1, 2), "robowm_update.py",
        UPDATE | {"batch": 16, "length": 16}, "ms",
    ),
    "threads": Axis(
        "update of 16 x 16, threads", "threads", (1, 2), "robowm_update.py",
        UPDATE | {"batch": 16, "length": 16}, "ms",
    ),
    "samples": Axis(
        "plan, samples (2 rounds, 6 steps)", "samples", (32, 64, 128, 256, 512, 1024),
        "robowm_plan.py", PLAN | {"horizon": 6},
    ),
    "horizon": Axis(
        "plan, steps (2 rounds of 64)", "horizon", (1, 2, 4, 8, 16), "robowm_plan.py",
        PLAN | {"samples": 64},
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Point:
    """Attributes:
    at: how large it was.
    ms: of one call, the median; cpu_ms: what of it was computing.
    peak_mib: of the process's memory.
    """

    at: float
    ms: float
    cpu_ms: float
    peak_mib: float


def points(rows: Sequence[Measured], axis: Axis) -> list[Point]:
    """Of what could be measured, smallest first."""
    found = []
    for row in rows:
        if row.missing is None:
            value = row.workload.settings[axis.grows]
            at = row.facts["parameters"] if isinstance(value, str) else value
            wall, cpu = (1e3 * float(np.median(s)) for s in (row.wall_s, row.cpu_s))
            found.append(Point(float(at), wall, cpu, row.peak_mib))
    return sorted(found, key=lambda point: point.at)


def exponent(found: Sequence[Point], of: str) -> float:
    """p where ``of`` grows as the size to the power p, between the two largest sizes."""
    if len(found) < 2:
        return float("nan")
    small, large = found[-2:]
    ratio = getattr(large, of) / getattr(small, of)
    return float(np.log(ratio) / np.log(large.at / small.at))


def run(
    benchmarks: Path, rounds: int, out: Path, say: Callable[[str], None]
) -> dict[str, list[Point]]:
    """Every axis, point by point."""
    found = {}
    for name, axis in AXES.items():
        rows = [
            row
            for workload in axis.workloads()
            for row in measure([workload], benchmarks, {}, rounds, out, say)
        ]
        found[name] = points(rows, axis)
    return found


def write(
    out: Path,
    facts: Mapping[str, Any],
    settings: Mapping[str, Any],
    found: Mapping[str, Sequence[Point]],
) -> None:
    """benchmark.json, benchmark.md and scale.png."""
    axes = {name: [dataclasses.asdict(point) for point in axis] for name, axis in found.items()}
    told = {"suite": "scale", "machine": facts, "config": settings, "axes": axes}
    write_json(out / "benchmark.json", told)
    write_bytes(out / "benchmark.md", markdown(facts, found).encode())
    write_bytes(out / "scale.png", plot(found).png())


def markdown(facts: Mapping[str, Any], found: Mapping[str, Sequence[Point]]) -> str:
    lines = ["### scale", "", benchmark.sentence(facts)]
    for name, axis in found.items():
        lines += ["", f"**{AXES[name].what}**", ""]
        lines += ["| | ms | CPU ms | peak MiB |", "|--:|--:|--:|--:|"]
        lines += [
            f"| {p.at:,.0f} | {digits(p.ms)} | {digits(p.cpu_ms)} | {p.peak_mib:,.0f} |"
            for p in axis
        ]
        time, memory = (exponent(axis, of) for of in (AXES[name].clock, "peak_mib"))
        lines += ["", f"At its end time grows with the power {time:.2f}, memory with {memory:.2f}."]
    return "\n".join(lines) + "\n"


@styled
def plot(found: Mapping[str, Sequence[Point]]) -> Plot:
    """CPU time of a call against each size, on logarithmic axes; two points are a table's, no curve."""
    shown = {name: axis for name, axis in found.items() if AXES[name].clock == "cpu_ms"}
    figure = Plot(columns=len(shown), height=2.6, width=13)
    for axes, (name, axis) in zip(figure.axes, shown.items(), strict=True):
        axes.plot([p.at for p in axis], [p.cpu_ms for p in axis], "o-", color=COLOURS[0])
        axes.set_xscale("log", base=2 if name != "size" else 10)
        axes.set_yscale("log")
        axes.set_title(AXES[name].what, fontsize=9)
        axes.set_yticks([p.cpu_ms for p in axis], [digits(p.cpu_ms) for p in axis])
        axes.yaxis.set_minor_locator(NullLocator())
        if name != "size":
            axes.set_xticks([p.at for p in axis], [f"{p.at:g}" for p in axis])
    figure.axes[0].set_ylabel("CPU ms")
    return figure
