"""Side by side with peers: what the processes say, the turns they take, the table, and bad input."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robowm import cli, config
from robowm.evaluation import peers, workloads
from robowm.evaluation.peers import Measured, NotMeasured, Process
from robowm.evaluation.workloads import Workload

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "benchmarks" / "peers"

FAKE = """
import time
import protocol

answers, settings = protocol.quiet(), protocol.settings()
print("noise of an import")

def prepare():
    time.sleep(settings["prepared"])

def call():
    print("noise of a call")
    with open(settings["log"], "a") as log:
        log.write(settings["name"] + " ")
    time.sleep(settings["seconds"])

facts = {"name": settings["name"], "version": "1.2", "count": 2, "parameters": 3_000_000}
protocol.serve(answers, {**facts, "precision": "fp32", "cameras": 2}, call, prepare)
"""


@pytest.fixture
def benchmarks(tmp_path):
    """A benchmarks/ with one peer that sleeps, one that dies and one that talks nonsense."""
    folder = tmp_path / "checkout" / "benchmarks" / "peers"
    folder.mkdir(parents=True)
    shutil.copy(PEERS / "protocol.py", folder)
    (folder / "fake.py").write_text(FAKE)
    (folder / "dies.py").write_text("raise RuntimeError('no such GPU')")
    (folder / "babbles.py").write_text("print('hello')\ninput()")
    return folder.parent


@pytest.fixture
def fake(tmp_path):
    def make(name, seconds, file="fake.py", **more):
        settings = {"name": name, "seconds": seconds, "prepared": 0, "log": str(tmp_path / "turns")}
        return Workload("plan", "plan, 1 x 1", file, settings, **more)

    return make


def measured(benchmarks, rows, out, rounds=3, clones=None):
    out.mkdir(exist_ok=True)
    return peers.measure(rows, benchmarks, clones or {}, rounds, out, lambda _: None)


def test_a_process_tells_its_facts_and_times_what_is_asked(benchmarks, fake, tmp_path):
    settings = {**fake("a", 0.01).settings, "threads": 1, "prepared": 0.3}
    process = Process(
        Path(sys.executable), benchmarks / "peers" / "fake.py", settings, tmp_path / "log"
    )
    try:
        assert process.facts()["version"] == "1.2"
        wall, cpu = process.ask(3)
        assert len(process.ask(1)[0]) == 1
        seen = process.profile()
    finally:
        process.close()
    assert ((wall >= 0.01) & (wall < 0.3)).all()  # without what prepares
    assert (cpu < wall).all()  # to sleep is not to compute
    assert seen["gflop"] is None and seen["top"][0]["what"] == "time.sleep"
    assert 0.5 < seen["top"][0]["share"] <= 1.0 and seen["top"][0]["calls"] == 1
    assert "noise of a call" in (tmp_path / "log").read_text()


TORCH = """
import protocol

answers, settings = protocol.quiet(), protocol.settings()
import torch

a = torch.randn(100, 200, requires_grad=True)
b = torch.randn(200, 300)
protocol.serve(answers, {"name": "a product", "version": "1"}, lambda: (a @ b).sum().backward())
"""


def test_products_are_counted_backward_ones_among_them(benchmarks, tmp_path):
    file = benchmarks / "peers" / "torch_product.py"
    file.write_text(TORCH)
    process = Process(Path(sys.executable), file, {"threads": 1}, tmp_path / "log")
    try:
        process.facts()
        process.ask(1)
        seen = process.profile()
    finally:
        process.close()
    assert seen["gflop"] == pytest.approx(2 * 2 * 100 * 200 * 300 / 1e9)
    assert "aten::mm" in [row["what"] for row in seen["top"]]


def test_the_peak_is_that_of_the_process_not_of_its_parent(benchmarks, fake, tmp_path):
    """getrusage hands the parent's on, where that had more before it started the process."""
    had = np.ones(2**29, np.uint8)
    settings = {**fake("a", 0.0).settings, "threads": 1}
    process = Process(
        Path(sys.executable), benchmarks / "peers" / "fake.py", settings, tmp_path / "log"
    )
    try:
        process.facts()
        process.ask(1)
        assert 1 < process.peak_mib < had.nbytes / 2**20 / 2
    finally:
        process.close()


def test_processes_take_turns_and_are_gone_at_the_end(benchmarks, fake, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "ROUND_S", 0.3)
    started = []

    class Remembered(Process):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            started.append(self._process)

    monkeypatch.setattr(peers, "Process", Remembered)
    rows = measured(benchmarks, [fake("a", 0.001), fake("b", 0.3)], tmp_path / "out")
    turns = (tmp_path / "turns").read_text().split()
    assert turns[:4] == ["a", "a", "b", "b"]  # warm-up
    assert turns[4:] == 3 * (["a"] * peers.MOST_CALLS + ["b"]) + ["a", "b"]  # at last, a profile
    assert min(rows[1].wall_s) >= 0.15 > max(rows[0].wall_s)  # two things a call
    assert [process.poll() is None for process in started] == [False, False]


def test_the_ratio_is_that_of_the_rounds():
    workload = Workload("plan", "plan", "x.py", {})
    ours = Measured(workload, wall_s=[1.0, 2.0, 4.0])
    theirs = Measured(workload, wall_s=[3.0, 6.0, 12.0])  # the machine slowed down, for both
    assert peers.ratio(theirs, ours, "wall_s") == pytest.approx((3.0, 3.0, 3.0))
    assert peers.ratio(Measured(workload, missing="gone"), ours, "wall_s") is None
    assert peers.ratio(theirs, Measured(workload, missing="gone"), "wall_s") is None


def test_the_table_says_how_fast_and_what_was_not_measured(machine):
    workload = Workload("env", "environment step", "robosuite_env.py", {})
    facts = {"name": "robowm", "version": "0.1", "precision": "fp32", "count": 1, "cameras": 2}
    ours = Measured(workload, facts, wall_s=[0.010, 0.012], cpu_s=[0.008, 0.008])
    theirs = Measured(workload, {**facts, "name": "other"}, [0.02, 0.024], [0.02, 0.02])
    missing = Measured(workload, missing="there is no .venv-peer-robosuite: make it")
    theirs.gflop, theirs.top = 0.5, [{"what": "aten::mm", "share": 0.25, "calls": 1200}]
    ours.in_mujoco = 0.7
    text = peers.markdown(machine, [ours, theirs, missing])
    assert (
        "| 0.5 | 25% |" in text and "|  | 70% |" in text
    )  # 0.5 GFLOP in 0.02 s, of 100.4 a second
    assert "| `aten::mm` | 25.0% | 1,200 |" in text
    assert "**environment step**" in text and "100 GFLOP/s" in text
    other = next(line for line in text.splitlines() if line.startswith("| other"))
    assert "2.50 (2.50 to 2.50)" in other and "2.00 (2.00 to 2.00)" in other
    assert "22 |" in other and "45.5 steps/s, cameras 2" in other
    assert "| robosuite | | | | **not measured**: there is no .venv-peer-robosuite" in text
    assert "NOT MEASURED" in peers.line(missing, ours)
    assert peers.plot([ours, theirs, missing]).png().startswith(b"\x89PNG")


@pytest.fixture
def machine():
    return {
        "cpu": "a CPU", "cores": 2, "threads": 1, "memory_gib": 8, "load_average": 0.1,
        "torch": "2", "gemm_fp32_gflops": 100.4, "gemm_bf16_gflops": 1.0,
    }  # fmt: skip


def test_what_is_missing_is_said_with_the_line_that_makes_it(benchmarks, fake, tmp_path):
    rows = measured(
        benchmarks,
        [
            fake("a", 0.0),
            fake("b", 0.0, environment="torchrl"),
            fake("c", 0.0, clone="r2dreamer"),
            fake("d", 0.0, file="dies.py"),
            fake("e", 0.0, file="babbles.py"),
        ],
        tmp_path / "out",
        rounds=1,
    )
    said = [row.missing for row in rows]
    assert said[0] is None and len(rows[0].wall_s) == 1
    assert "python benchmarks/environments.py torchrl" in said[1]
    assert "git clone https://github.com/NM512/r2dreamer" in said[2] and "r2dreamer=" in said[2]
    assert "RuntimeError: no such GPU" in said[3]
    assert "'hello'" in said[4]


def test_times_stay_where_a_profile_fails(benchmarks, fake, tmp_path):
    broken = FAKE.replace("answers, settings", "protocol._functions = None\nanswers, settings")
    (benchmarks / "peers" / "broken.py").write_text(broken)
    (row,) = measured(benchmarks, [fake("a", 0.0, file="broken.py")], tmp_path / "out", rounds=1)
    assert row.missing is None and len(row.wall_s) == 1 and row.top == []


def test_an_answer_that_never_comes_is_not_waited_for(benchmarks, fake, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "ANSWER_S", 0.5)
    settings = {**fake("a", 60.0).settings, "threads": 1}
    (benchmarks / "peers" / "sleeps.py").write_text("import time\ntime.sleep(60)")
    process = Process(
        Path(sys.executable), benchmarks / "peers" / "sleeps.py", settings, tmp_path / "log"
    )
    with pytest.raises(NotMeasured, match="its process ended"):
        process.facts()
    process.close()


def test_every_workload_can_be_started():
    environments = ast.parse((ROOT / "benchmarks" / "environments.py").read_text())
    made = next(
        [key.value for key in node.value.keys]
        for node in environments.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "MODULES"
    )
    registry = workloads.workloads(config.folder())
    for workload in registry.values():
        assert (PEERS / workload.file).is_file()
        assert workload.group in workloads.GROUPS
        assert workload.environment in (None, *made)
        assert workload.clone in (None, *workloads.CLONES)
        json.dumps(workload.settings)
    first = {}
    for workload in registry.values():
        first.setdefault(workload.size, workload)
    assert all(workload.file.startswith("robowm_") for workload in first.values())
    for name in made:
        assert (ROOT / "benchmarks" / f"requirements-{name}.txt").is_file()


@pytest.mark.parametrize("file", sorted(PEERS.glob("*.py")), ids=lambda path: path.stem)
def test_theirs_import_nothing_of_ours(file):
    tree = ast.parse(file.read_text())
    imported = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in imported if name.partition(".")[0] in ("robowm", "robowm_envs")}
    assert bool(ours) == file.stem.startswith("robowm_")


def test_unknown_members_and_folders_end_in_one_sentence(capsys, tmp_path):
    import benchmark as script

    def run(*arguments):
        code = cli.call(
            script.main, "benchmark", ["suite=peers", f"out={tmp_path / 'new'}", *arguments]
        )
        assert code == 2 and not (tmp_path / "new").exists()
        return capsys.readouterr().err

    assert "did you mean 'plan'?" in run("only=[plans]")
    said = run(f"r2dreamer={tmp_path}")
    assert "no clone of https://github.com/NM512/r2dreamer" in said and "git clone" in said
    assert "rounds is 0" in run("rounds=0")


def test_the_suite_writes_json_table_and_picture(benchmarks, fake, tmp_path, monkeypatch, capsys):
    import benchmark as script

    registry = {"a": fake("ours", 0.001), "b": fake("theirs", 0.002), "c": fake("c", 0, "dies.py")}
    monkeypatch.setattr(workloads, "workloads", lambda _: registry)
    monkeypatch.setattr(workloads, "folder", lambda: benchmarks)
    out = tmp_path / "out"
    arguments = ["suite=peers", "only=[plan]", "rounds=2", f"out={out}"]
    assert cli.call(script.main, "benchmark", arguments) == 0
    assert "NOT MEASURED" in capsys.readouterr().out
    told = json.loads((out / "benchmark.json").read_text())
    assert told["suite"] == "peers" and told["machine"]["threads"] == 1
    assert [row["name"] for row in told["rows"]] == ["ours", "theirs", "dies"]
    assert np.shape(told["rows"][1]["wall_s"]) == (2,) and told["rows"][1]["wall_ratio"][0] > 1
    assert "**not measured**" in (out / "benchmark.md").read_text()
    assert (out / "peers.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "usage"), (["torchlr"], "torchrl | robosuite")],
)
def test_environments_are_made_by_name(arguments, said):
    script = ROOT / "benchmarks" / "environments.py"
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode and said in done.stderr
