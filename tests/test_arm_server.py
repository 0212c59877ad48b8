"""scripts/arm_server.py in a process of its own, and somebody beside it with a link."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import arm_server as script
from robowm import cli
from robowm.dispatch.wire import LINKS
from robowm.errors import UserError
from tests.dispatch.bench import Client, expert_motion, until

ROOT = Path(__file__).parents[1]


@pytest.fixture
def dds(monkeypatch):
    """A link in a domain of its own, whose name is in the environment."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(random.SystemRandom().randint(20, 200)))
    link = LINKS["dds"]("client", "/left")
    try:
        link.open()
    except UserError as error:
        pytest.skip(str(error))
    yield link
    link.close()


@pytest.fixture
def process():
    """Starts the script; ends it, however the test did."""
    started = []

    def start(*arguments):
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'envs'}"}
        command = [sys.executable, ROOT / "scripts/arm_server.py", *arguments]
        started.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stderr.close()


def test_an_arm_in_another_process_obeys_messages_and_ends_when_told(dds, process):
    client = Client(dds)
    arm = process("link=dds", "namespace=/left", "task.image_size=32", "server.patience_s=60")
    assert until(lambda: client.heard["joint_states"], 60.0), arm.poll()
    q, dq = expert_motion("grasp_rotate_place", seed=3)
    client.lay_out(3)
    for camera in ("front", "wrist"):
        assert until(lambda camera=camera: client.heard[f"camera/{camera}/image_raw"])
    end_s = client.state.stamp_s + 0.1 * len(q) + 1.0
    sent = client.send(q, dq)
    assert until(lambda: client.fresh_status["accepted"] == 1)
    assert until(lambda: client.state.stamp_s > end_s, 120.0)
    assert np.abs(client.state.position - sent.position[-1])[:-1].max() < 0.01
    assert client.finish()["success"] == 1.0
    assert until(lambda: client.episode["state"] == "over")
    begin = time.monotonic()
    arm.send_signal(signal.SIGTERM)
    assert arm.wait(20.0) == 0
    assert time.monotonic() - begin < 10.0  # 0.2 s where nothing else is done
    assert "Traceback" not in arm.stderr.read()


def test_it_ends_by_itself_and_by_ctrl_c(process):
    brief, endless = process("+preset=debug"), process("link=local")
    assert brief.wait(60.0) == 0 and brief.stderr.read() == ""
    assert endless.poll() is None
    endless.send_signal(signal.SIGINT)
    assert endless.wait(20.0) == 0


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("link=smoke", "unknown link 'smoke'"),
        ("split=tset", "unknown split 'tset'"),
        ("timestep_s=0.003", "multiple"),
        ("task.cameras=[back]", "unknown camera 'back'"),
        ("server.rate_hz=0", "1 to 1000 Hz"),
        ("controller.deceleration=0", "above 0"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(argument, said, capsys):
    assert cli.call(script.main, "arm_server", ["+preset=debug", argument]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
