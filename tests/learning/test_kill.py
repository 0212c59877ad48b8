"""A real process, killed without warning wherever it happens to be."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import robowm
from robowm.learning import checkpoint

pytestmark = pytest.mark.slow
UPDATES, SLOWNESS_S = 60, 0.02
TOY = Path(__file__).with_name("toy.py")


def start(out):
    paths = [str(Path(robowm.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, str(TOY), str(out), str(UPDATES), str(SLOWNESS_S)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )


def steps_logged(out):
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(condition, process, limit_s=60.0):
    end = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, "the run did not get anywhere"
        time.sleep(0.002)


def curve(out):
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("rate/")} for r in records]


def assert_same_end(whole, parts):
    assert len(curve(whole)) == UPDATES
    assert curve(whole) == curve(parts)
    first, second = checkpoint.load(whole), checkpoint.load(parts)
    assert all(torch.equal(first.weights[k], second.weights[k]) for k in first.weights)
    assert all(torch.equal(first.optimizer[k], second.optimizer[k]) for k in first.optimizer)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert start(out).wait(60) == 0
    return out


def test_sigterm_saves_leaves_and_goes_on(whole, tmp_path):
    process = start(tmp_path)
    wait_for(lambda: steps_logged(tmp_path) >= 8, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert checkpoint.load(tmp_path).step == steps_logged(tmp_path) >= 8
    assert start(tmp_path).wait(60) == 0
    assert_same_end(whole, tmp_path)


def test_killed_at_three_random_moments_the_curve_is_the_same_to_the_bit(whole, tmp_path):
    draw = random.Random()
    for earliest in (2, 20, 40):
        process = start(tmp_path)
        target = earliest + draw.randrange(15)
        wait_for(lambda target=target: steps_logged(tmp_path) >= target, process)
        time.sleep(draw.random() * 3 * SLOWNESS_S)  # anywhere in an update or a save
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    assert start(tmp_path).wait(60) == 0
    assert_same_end(whole, tmp_path)


def test_killed_while_saving_again_and_again_a_checkpoint_is_always_whole(whole, tmp_path):
    """Saving each 5 updates; killed at the sight of files that are not renamed yet."""
    saving = tmp_path / "checkpoints"
    for kill in range(4):
        process = start(tmp_path)
        begun = steps_logged(tmp_path)
        wait_for(
            lambda begun=begun: steps_logged(tmp_path) > begun and list(saving.glob(".step_*.new")),
            process,
        )
        process.kill()
        process.wait(30)
        if kill or checkpoint.find(tmp_path):
            assert checkpoint.load(tmp_path).step % 5 == 0
    assert start(tmp_path).wait(60) == 0
    assert_same_end(whole, tmp_path)
    assert not list(saving.glob(".*"))
