"""Measuring: the arithmetic of rates, what is said of the machine, and each suite run for real."""

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from robowm import cli
from robowm.errors import UserError
from robowm.evaluation import benchmark
from robowm.evaluation.benchmark import Timing, TimingConfig

SCRIPT = Path(__file__).parents[1] / "scripts" / "benchmark.py"


def test_warm_up_is_not_counted(monkeypatch):
    clock = iter(np.arange(1000) ** 2.0)  # the n-th reading is n^2: every call seems slower
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    calls = itertools.count()
    timing = benchmark.measure(lambda: next(calls), TimingConfig(warmup=2, repeats=4, seconds=1e9))
    assert next(calls) == 6
    np.testing.assert_array_equal(timing.seconds, [1, 5, 9, 13])


def test_slow_things_are_repeated_three_times_at_least():
    timing = benchmark.measure(lambda: time.sleep(0.01), TimingConfig(0, 100, seconds=0.005))
    assert len(timing.seconds) == 3
    assert (timing.seconds > 0.009).all()


def test_a_rate_turns_times_over():
    timing = Timing(np.linspace(0.1, 0.3, 11))
    row = benchmark.rate("a", "b", "steps/s", timing, 50)
    assert row.value == pytest.approx(250)
    assert row.low == pytest.approx(50 / 0.28) and row.high == pytest.approx(50 / 0.12)
    row = benchmark.duration("a", "b", timing)
    assert row.value == pytest.approx(200) and row.low < row.value < row.high < row.extra["p99_ms"]


def test_the_machine_is_named_and_measured():
    facts = benchmark.machine(torch.device("cpu"))
    assert facts["cpu"] and facts["cores"] >= 1 and facts["threads"] == torch.get_num_threads()
    # Any processor of these years is above this, none reaches that.
    assert 0.5 < facts["gemm_fp32_gflops"] < 1e5 and 0.05 < facts["gemm_bf16_gflops"] < 1e6
    assert 50 < benchmark.peak_rss_mib() < 1e5


def test_the_table_says_what_where_and_how_fast():
    facts = benchmark.machine(torch.device("cpu")) | {"gemm_fp32_gflops": 100.4}
    timing = Timing(np.full(5, 0.0842))
    row = benchmark.duration("mppi", "256 x 4 x 6", timing, updates_per_s=2.4, episodes=8)
    text = benchmark.markdown("plan", facts, [row])
    assert facts["cpu"] in text and "100 GFLOP/s" in text
    assert (
        "| mppi | 256 x 4 x 6 | 84.2 ms | 84.2 to 84.2 | 5 | p99 84.2 ms, 2.4 updates/s, 8 episodes |"
        in text
    )


@pytest.mark.parametrize("settings", [{"repeats": 0}, {"warmup": -1}, {"seconds": 0}])
def test_timings_that_cannot_be_are_refused(settings):
    with pytest.raises(UserError, match="timing"):
        TimingConfig(**settings)


def script():
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location("script_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("suite", "rows"),
    [
        ("plan", {"mppi in fp32", "mppi in bf16", "belief update"}),
        pytest.param("env", {"environment, one process", "reset"}, marks=pytest.mark.slow),
        pytest.param(
            "train", {"sampling a batch", "update in fp32, model alone"}, marks=pytest.mark.slow
        ),
    ],
)
def test_a_suite_runs_and_writes_json_and_table(suite, rows, tmp_path):
    code = cli.call(
        script().main, "benchmark", ["+preset=debug", f"suite={suite}", f"out={tmp_path}"]
    )
    assert code == 0
    data = json.loads((tmp_path / "benchmark.json").read_text())
    assert data["suite"] == suite and rows <= {row["name"] for row in data["rows"]}
    for row in data["rows"]:
        assert 0 < row["low"] <= row["value"] <= row["high"] and row["repeats"] == 3
    table = (tmp_path / "benchmark.md").read_text()
    assert all(name in table for name in rows)


@pytest.mark.slow
def test_the_gate_is_counted_by_class_and_timed(tmp_path):
    arguments = ["+preset=debug", "suite=gate", "chunks=600", f"out={tmp_path}"]
    assert cli.call(script().main, "benchmark", arguments) == 0
    rows = {
        (row["name"], row["size"]): row
        for row in json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    }
    assert 0 < rows["gate, an expert's chunk", "3 waypoints"]["value"] < 100  # ms
    counts = {name: row for (name, _), row in rows.items() if name.startswith("chunks, ")}
    total = counts.pop("chunks, all classes")
    assert total["value"] == sum(row["value"] for row in counts.values()) >= 600
    assert total["extra"]["unsafe passed"] == 0 < total["extra"]["passed"]
    refused = sum(n for what, n in total["extra"].items() if what.startswith("refused for"))
    assert total["extra"]["passed"] + refused == total["value"]
    assert not (tmp_path / "gate_trouble.json").exists()


@pytest.mark.slow
def test_a_gate_that_is_wrong_is_written_down_and_fails(tmp_path, monkeypatch):
    from robowm.dispatch import fuzz

    benchmark_script = script()
    trouble = fuzz.Report(trouble=[{"why": "it passed", "events": []}])
    monkeypatch.setattr(benchmark_script, "_fuzzed", lambda *arguments: iter([trouble]))
    arguments = ["+preset=debug", "suite=gate", f"out={tmp_path}"]
    assert cli.call(benchmark_script.main, "benchmark", arguments) == 1
    written = json.loads((tmp_path / "gate_trouble.json").read_text())
    assert written["trouble"][0]["why"] == "it passed"


def test_an_unknown_suite_names_the_known_ones(capsys, tmp_path):
    assert cli.call(script().main, "benchmark", ["suite=plans", f"out={tmp_path / 'new'}"]) == 2
    assert "did you mean 'plan'?" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
