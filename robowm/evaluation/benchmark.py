"""Rates that can be repeated: warm-up, repeats, median and spread, and the machine they hold for."""

from __future__ import annotations

import dataclasses
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robowm import __version__
from robowm.errors import UserError

MIB = 2**20


@dataclasses.dataclass
class TimingConfig:
    """Attributes:
    warmup: calls that are not counted: they allocate, compile and fill caches.
    repeats: calls that are.
    seconds: at most, of the counted ones; at least three are made.
    """

    warmup: int = 3
    repeats: int = 20
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.warmup < 0 or self.repeats < 1 or not self.seconds > 0:
            raise UserError(
                f"timing.warmup is {self.warmup}, repeats {self.repeats}, seconds {self.seconds}: give "
                "warmup >= 0, repeats >= 1 and seconds above 0."
            )


@dataclasses.dataclass(frozen=True)
class Timing:
    """Wall time of each counted call, [N] s."""

    seconds: NDArray[np.float64]

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.seconds, share))


def measure(function: Callable[[], object], config: TimingConfig) -> Timing:
    """Time ``function``; it must wait for whatever device it uses."""
    for _ in range(config.warmup):
        function()
    seconds: list[float] = []
    while len(seconds) < config.repeats and (sum(seconds) < config.seconds or len(seconds) < 3):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return Timing(np.array(seconds))


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
      name: what was measured; ``size`` says at which size.
      unit: of value, low and high.
      value: the median; ``low`` and ``high`` are the 10th and 90th percentile.
      repeats: counted calls.
      extra: other numbers, by a name with its unit.
    """

    name: str
    size: str
    unit: str
    value: float
    low: float
    high: float
    repeats: int
    extra: dict[str, float] = dataclasses.field(default_factory=dict)


def rate(
    name: str, size: str, unit: str, timing: Timing, count: float = 1.0, **extra: float
) -> Row:
    """``count`` things a call, as things a second: the fast end of the times is the high end."""
    low, value, high = (count / timing.quantile(share) for share in (0.9, 0.5, 0.1))
    return Row(name, size, unit, value, low, high, len(timing.seconds), extra)


def duration(name: str, size: str, timing: Timing, **extra: float) -> Row:
    """Milliseconds a call, with the 99th percentile beside."""
    low, value, high = (1e3 * timing.quantile(share) for share in (0.1, 0.5, 0.9))
    extra = {"p99_ms": 1e3 * timing.quantile(0.99), **extra}
    return Row(name, size, "ms", value, low, high, len(timing.seconds), extra)


def machine(device: torch.device) -> dict[str, Any]:
    """What the rates hold for, the matrix products that this machine does among it."""
    facts: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "device": str(device),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "robowm": __version__,
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        facts[f"gemm_{name}_gflops"] = round(gemm_gflops(dtype, device), 1)
    return facts


def gemm_gflops(dtype: torch.dtype, device: torch.device, size: int = 1024) -> float:
    """10^9 operations a second of a square matrix product."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def multiply() -> None:
        torch.matmul(a, b)
        synchronise(device)

    timing = measure(multiply, TimingConfig(warmup=3, repeats=30, seconds=1.0))
    return 2 * size**3 / timing.quantile(0.5) / 1e9


def synchronise(device: torch.device) -> None:
    """Wait for the device, where it works beside us."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def sentence(facts: Mapping[str, Any]) -> str:
    """What :func:`machine` found, for people."""
    gpu = f"{facts['gpu']}, " if "gpu" in facts else ""
    threads = f"{facts['threads']} thread{'s' * (facts['threads'] > 1)}"
    return (
        f"{gpu}{facts['cpu']}, {facts['cores']} cores, {threads} used, {facts['memory_gib']} GiB; load "
        f"average {facts['load_average']} at the start; torch {facts['torch']}; matrix products at "
        f"{facts['gemm_fp32_gflops']:.0f} GFLOP/s in fp32 and {facts['gemm_bf16_gflops']:.0f} in bf16."
    )


def markdown(suite: str, facts: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """The machine in a sentence and the rows as a table."""
    lines = [
        f"### {suite}",
        "",
        sentence(facts),
        "",
        "| what | size | median | 10 to 90% | repeats | beside |",
        "|---|---|--:|--:|--:|---|",
    ]
    for row in rows:
        beside = ", ".join(_said(name, x) for name, x in row.extra.items())
        lines.append(
            f"| {row.name} | {row.size} | {digits(row.value)} {row.unit} | "
            f"{digits(row.low)} to {digits(row.high)} | {row.repeats} | {beside} |"
        )
    return "\n".join(lines) + "\n"


def _said(name: str, value: float) -> str:
    """``p99_ms``: p99 84 ms; ``updates_per_s``: 2.4 updates/s; ``episodes``: 8 episodes."""
    if name.endswith("_per_s"):
        return f"{digits(value)} {name.removesuffix('_per_s')}/s"
    what, _, unit = name.rpartition("_")
    return f"{what.replace('_', ' ')} {digits(value)} {unit}" if what else f"{digits(value)} {name}"


def digits(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cpu_model() -> str:
    """The name that the system gives its processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
