"""scripts/train.py as a user runs it, on a small dataset of moving noise."""

import dataclasses
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import robowm
from robowm import agents, cli
from robowm.data.episode import Episode
from robowm.data.store import EpisodeWriter
from robowm.learning import checkpoint
from robowm.spec import ActionSpec, ArraySpec, TaskSpec

ROOT = Path(robowm.__file__).parents[1]
SCRIPT = ROOT / "scripts" / "train.py"
_spec = importlib.util.spec_from_file_location("robowm_scripts_train", SCRIPT)
train_script = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = train_script  # where typing looks for the dataclass's annotations
_spec.loader.exec_module(train_script)


def vector(size):
    return ArraySpec((size,), "float32", (-2.0,) * size, (2.0,) * size)


IMAGE = ArraySpec((64, 64, 3), "uint8", (0.0,), (255.0,))
SPEC = TaskSpec(
    task="reach",
    observation={
        "image_front": IMAGE,
        "image_wrist": IMAGE,
        "proprio": vector(7),
        "goal": vector(3),
    },
    action=ActionSpec(
        ("dx_m", "dy_m", "dz_m", "dyaw_rad", "gripper"),
        (0.05, 0.05, 0.05, 0.2, 1.0),
        (False,) * 4 + (True,),
    ),
    privileged={"object_position": vector(3)},
    yaw_order=1,
    control_dt_s=0.1,
    time_limit_steps=20,
)


def episode(seed, steps=20, task=SPEC):
    draw = np.random.default_rng(seed)
    observations = {
        name: draw.integers(0, 255, (steps + 1, *spec.shape)).astype(np.uint8)
        if spec.is_image
        else draw.uniform(-1, 1, (steps + 1, *spec.shape)).astype(np.float32)
        for name, spec in task.observation.items()
    }
    actions = draw.uniform(-1, 1, (steps, 5)).astype(np.float32)
    return Episode(
        observations=observations,
        actions=actions,
        expert_actions=actions,
        rewards=np.zeros(steps, np.float32),
        terminal=False,
        success=np.zeros(steps + 1, np.float32),
        privileged={"object_position": np.zeros((steps + 1, 3), np.float32)},
        states=np.zeros((steps + 1, 0)),
        info={"seed": seed, "split": "train", "task": "reach"},
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with EpisodeWriter(folder / "shard_00000.hdf5", SPEC) as writer:
        for seed in range(3):
            writer.add(episode(seed))
    return folder


def arguments(data, out, *settings):
    return [
        *("task=reach", "model=rssm/debug", "behaviour=cloning", f"data={data}", f"out={out}"),
        *("learning.batch_size=2", "learning.length=6", "learning.warmup=2", "learning.device=cpu"),
        *("learning.log_every=1", "learning.checkpoint_every=2", *settings),
    ]


def train(data, out, *settings):
    return cli.call(train_script.main, "train", arguments(data, out, *settings))


def curve(out):
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("rate/")} for r in records]


def test_the_same_command_again_goes_on_as_if_it_had_not_stopped(data, tmp_path):
    for out, settings in (("whole", (6,)), ("parts", (3, 6))):
        for updates in settings:
            assert train(data, tmp_path / out, f"learning.updates={updates}") == 0
    whole, parts = (checkpoint.load(tmp_path / name) for name in ("whole", "parts"))
    assert whole.step == parts.step == 6 and whole.config["task"]["name"] == "reach"
    assert whole.spec == SPEC
    trained = agents.load(tmp_path / "whole")
    assert trained.env_steps == whole.state["replay"]["given"][0] * SPEC.time_limit_steps
    assert trained.seed == 0 and trained.minutes > 0
    # The schedule of a run that was begun for 3 updates is another; the data drawn is the same.
    assert whole.state["replay"] == parts.state["replay"]
    assert torch.equal(whole.state["random"]["torch"], parts.state["random"]["torch"])
    assert [r["step"] for r in curve(tmp_path / "parts")] == [1, 2, 3, 4, 5, 6]
    assert curve(tmp_path / "whole")[:2] == curve(tmp_path / "parts")[:2]


def test_training_begins_with_what_fits_of_another_task(data, tmp_path, caplog):
    assert train(data, tmp_path / "first", "learning.updates=2") == 0
    other = dataclasses.replace(SPEC, observation=SPEC.observation | {"goal": vector(5)})
    (tmp_path / "other").mkdir()
    with EpisodeWriter(tmp_path / "other" / "shard_00000.hdf5", other) as writer:
        writer.add(episode(0, task=other))
    begun = ["learning.updates=1", "learning.learning_rate=1e-9", f"begin_with={tmp_path}/first"]
    assert train(tmp_path / "other", tmp_path / "second", *begun) == 0
    assert "do not fit and begin anew" in caplog.text
    first, second = (checkpoint.load(tmp_path / name).weights for name in ("first", "second"))
    same = {name for name in first if first[name].shape == second[name].shape}
    assert 0 < len(same) < len(first)
    lent = [name for name in same if torch.allclose(first[name], second[name], atol=1e-6)]
    assert {name for name in same if name.startswith("model.")} <= set(lent)


def test_under_torchrun_it_learns_what_its_own_processes_learn(data, tmp_path):
    settings = ("learning.updates=3", "learning.precision=fp32")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(SCRIPT), *arguments(data, tmp_path / "torchrun", *settings)],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    own = [sys.executable, str(SCRIPT), *arguments(data, tmp_path / "own", *settings)]
    subprocess.run([*own, "learning.processes=2"], check=True, timeout=240)
    assert curve(tmp_path / "torchrun") == curve(tmp_path / "own")
    a, b = (checkpoint.load(tmp_path / name).weights for name in ("torchrun", "own"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_camera_less_than_the_data_has(data, tmp_path):
    assert train(data, tmp_path, "learning.updates=2", "task.cameras=[front]") == 0
    saved = checkpoint.load(tmp_path)
    assert saved.spec.images == ("image_front",)
    assert not [name for name in saved.weights if "wrist" in name]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["task=grasp"], "holds episodes of 'reach', not of 'grasp'"),
        (["task.cameras=[side]"], "task.cameras ask for image_side"),
        (["task.observation=state"], "ask for none"),
        (["data=nowhere"], "there is no data at nowhere"),
        (["learning.batchsize=3"], "did you mean learning.batch_size"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(data, tmp_path, capsys, settings, said):
    assert train(data, tmp_path / "out", *settings) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_three_random_moments_the_curve_is_the_same_to_the_bit(data, tmp_path, processes):
    draw = random.Random()
    settings = ("behaviour=actor_critic", "behaviour.begin=5", "learning.updates=30")
    settings += (f"learning.processes={processes}",)

    def start(out):
        command = [sys.executable, str(SCRIPT), *arguments(data, out, *settings)]
        return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})

    assert start(tmp_path / "whole").wait(120) == 0
    out = tmp_path / "parts"
    for earliest in (1, 9, 18):
        process, target = start(out), earliest + draw.randrange(8)
        end = time.monotonic() + 60
        while not ((out / "metrics.jsonl").exists() and len(curve_so_far(out)) >= target):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.002)
        time.sleep(draw.random() * 0.1)
        process.kill()
        process.wait(30)
    assert start(out).wait(120) == 0
    assert len(curve(out)) == 30 and curve(out) == curve(tmp_path / "whole")
    weights, expected = (checkpoint.load(tmp_path / n).weights for n in ("parts", "whole"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def curve_so_far(out):
    return (out / "metrics.jsonl").read_bytes().splitlines()
