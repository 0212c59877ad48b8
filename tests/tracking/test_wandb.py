"""wandb offline, read back with its own reader, and online against a server in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import robowm
from robowm.errors import UserError
from robowm.tracking import TrackingConfig, make_logger

from .loopback import LoopbackServer

pytest.importorskip("wandb")
WANDB = str(Path(sys.executable).with_name("wandb"))
OFFLINE = TrackingConfig(kind="wandb", mode="offline", tags=["test"])


@pytest.fixture(autouse=True)
def without_a_cloud(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_RUN_ID", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb-data"))
    monkeypatch.setenv("WANDB_X_DISABLE_STATS", "true")


def records(folder):
    """What ``wandb leet inspect --json`` prints, a line a record, by type."""
    command = [WANDB, "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = {}
    for record in map(json.loads, done.stdout.splitlines()):
        found.setdefault(record["type"], []).append(record[record["type"]])
    return found


def folders(out):
    return sorted((out / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_ctime_ns)


def test_an_offline_run_reads_back_and_resuming_keeps_its_id_and_steps(tmp_path):
    first = make_logger(OFFLINE, tmp_path, {"model": {"kind": "toy"}})
    first.resume(0, {})
    for step in (10, 20):
        first.log(step, {"loss": 1 / step, "model/image": 2.0})
    first.video(20, "imagined", np.zeros((3, 16, 16, 3), np.uint8), 10)
    first.table(20, "starts", ("seed", "success"), [(0, 1.0), (1, 0.0)])
    state = json.loads(json.dumps(first.state_dict()))
    first.close()

    second = make_logger(OFFLINE, tmp_path, {"model": {"kind": "toy"}})
    second.resume(20, state)
    second.log(30, {"loss": 1 / 30})
    assert second.state_dict() == state
    second.close()

    one, two = folders(tmp_path)
    read = [records(folder) for folder in (one, two)]
    runs = [r["run"][0] for r in read]
    assert {run["run_id"] for run in runs} == {state["wandb"]["id"]}
    assert {run["project"] for run in runs} == {"robowm"}
    assert runs[0]["config"]["update"]["model"] == {"kind": "toy"}
    history, after = ([line["item"] for line in r["history"]] for r in read)
    assert [(r["_step"], r["loss"]) for r in history] == [(10, 0.1), (20, 0.05)]
    assert [(r["_step"], r["loss"]) for r in after] == [(30, 1 / 30)]
    media = history[-1]
    assert media["imagined._type"] == "video-file" and media["starts.nrows"] == 2
    assert (one / "files" / media["imagined.path"]).read_bytes()[4:8] == b"ftyp"


def test_the_id_outlives_a_kill_before_the_first_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    first = make_logger(OFFLINE, tmp_path, {})
    first.resume(0, {})
    first.log(1, {"loss": 1.0})
    again = make_logger(OFFLINE, tmp_path, {})
    again.resume(0, {})
    assert again.state_dict()["wandb"] == first.state_dict()["wandb"]
    first.close()


def test_modes_that_do_not_exist_are_said(tmp_path):
    with pytest.raises(UserError, match="did you mean 'online'"):
        make_logger(TrackingConfig(kind="wandb", mode="onlin"), tmp_path, {})


# What a session does, in a process of its own: wandb reads its environment once.
SESSION = """
import json, sys
from pathlib import Path
import numpy as np
from robowm.tracking import TrackingConfig, make_logger

out, mode, after, last, state = sys.argv[1:]
logger = make_logger(TrackingConfig(kind="wandb", mode=mode), Path(out), {"kind": "toy"})
logger.resume(int(after), json.loads(state))
for step in range(int(after) + 10, int(last) + 1, 10):
    logger.log(step, {"loss": 1 / step})
logger.video(int(last), "imagined", np.zeros((3, 16, 16, 3), np.uint8), 10)
print(json.dumps(logger.state_dict()))
logger.close()
"""


def against(server, out, *command):
    """Runs a command in ``out`` whose wandb knows no server but this one; what it printed."""
    environment = os.environ | {
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": "0" * 40,
        "WANDB_ERROR_REPORTING": "false",
        "PYTHONPATH": str(Path(robowm.__file__).parents[1]),
    }
    environment.pop("WANDB_MODE")
    done = subprocess.run(
        command, env=environment, cwd=out, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def session(server, out, mode, after, last, state="{}"):
    command = (sys.executable, "-c", SESSION, str(out), mode, str(after), str(last), state)
    return against(server, out, *command).splitlines()[-1]


@pytest.mark.slow
def test_an_online_run_is_resumed_as_the_same_run(tmp_path):
    with LoopbackServer() as server:
        state = session(server, tmp_path, "online", 0, 20)
        assert session(server, tmp_path, "online", 20, 40, state) == state
        (run_id,) = server.runs
        assert json.loads(state)["wandb"] == {"id": run_id}
        history = server.history(run_id)
        assert [(h["_step"], h["loss"]) for h in history] == [(s, 1 / s) for s in (10, 20, 30, 40)]
        assert run_id in server.finished
        videos = [data for name, data in server.files.items() if name.endswith(".mp4")]
        assert videos and all(data[4:8] == b"ftyp" for data in videos)


@pytest.mark.slow
def test_offline_sessions_sync_into_one_run(tmp_path):
    with LoopbackServer() as server:
        state = session(server, tmp_path, "offline", 0, 20)
        session(server, tmp_path, "offline", 20, 40, state)
        assert not server.operations and not server.runs  # nothing left the machine
        against(server, tmp_path, WANDB, "sync", "--yes", *map(str, folders(tmp_path)))
        (run_id,) = server.runs
        assert json.loads(state)["wandb"] == {"id": run_id}
        assert [h["_step"] for h in server.history(run_id)] == [10, 20, 30, 40]
