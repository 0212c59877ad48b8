import dataclasses
import functools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from robowm.data.collect import CollectConfig, Collected, collect, collect_episode
from robowm.data.disturbance import Disturbance, DisturbanceConfig
from robowm.data.store import open_dataset
from robowm.errors import UserError
from robowm.spec import ActionSpec
from tests.data.toys import PointEnv, PointExpert, assert_equal

CALM = DisturbanceConfig(clean=1.0)
ROUGH = DisturbanceConfig(clean=0.0, noise=0.5, burst_rate=0.2)
ACTION = ActionSpec(("dx_m", "dy_m", "gripper"), (0.2, 0.2, 1.0), (False, False, True))


def episode(seed, disturbance=CALM, **options):
    env = PointEnv()
    return collect_episode(env, PointExpert(env), seed, disturbance, **options)


def test_clean_episode_is_the_experts():
    clean = episode(0)
    np.testing.assert_array_equal(clean.actions, clean.expert_actions)
    about = {"task": "point", "split": "train", "seed": 0, "noise": 0.0, "bursts": 0}
    assert clean.info == {**about, "broken_off": False}
    assert len(clean) == len(clean.rewards) == len(clean.success) - 1
    assert not clean.terminal
    # The state at each step is that of the observation, and the action leads to the next.
    np.testing.assert_allclose(clean.states[:, :2], clean.observations["proprio"], rtol=1e-6)
    moved = np.diff(clean.states[:, :2], axis=0)
    np.testing.assert_allclose(moved, 0.2 * clean.actions[:, :2], atol=1e-6)


def test_stops_after_success_has_lasted():
    stopped, whole = episode(0, extra_steps=4), episode(0, extra_steps=None)
    first = int(np.argmax(stopped.success))
    assert len(stopped) == first + 4
    assert stopped.success[first:].all()
    assert len(whole) == PointEnv.time_limit_steps
    np.testing.assert_array_equal(whole.actions[: len(stopped)], stopped.actions)


def test_a_glimpse_is_the_beginning_of_an_episode_and_says_that_it_is_broken_off():
    whole, glimpse = episode(0), episode(0, max_steps=3)
    assert len(glimpse) == 3
    assert glimpse.info["broken_off"]
    np.testing.assert_array_equal(glimpse.actions, whole.actions[:3])
    assert not episode(0, max_steps=len(whole)).info["broken_off"], "it ended by itself"


def test_labels_are_the_experts_at_what_was_seen():
    for seed in range(5):
        rough = episode(seed, ROUGH)
        assert not np.array_equal(rough.actions, rough.expert_actions)
        way = rough.observations["goal"] - rough.observations["proprio"]
        labels = np.clip(way[:-1] / 0.2, -0.5, 0.5)
        np.testing.assert_allclose(rough.expert_actions[:, :2], labels, atol=1e-5)
        assert np.abs(rough.actions).max() <= 1


def test_the_end_of_the_world_is_recorded_and_kept():
    wild = DisturbanceConfig(clean=0.0, noise=4.0, burst_rate=0.0)
    episodes = [episode(seed, wild) for seed in range(20)]
    ended = [e for e in episodes if e.terminal]
    assert ended
    assert all(np.abs(e.states[-1, :2]).max() > 1 for e in ended)
    assert all(np.abs(e.states[-1, :2]).max() <= 1 for e in episodes if not e.terminal)


def disturbed(config, seed, steps=400):
    disturb = Disturbance(config, ACTION, np.random.default_rng(seed))
    intended = np.array([0.1, -0.1, -1.0], np.float32)
    return disturb, np.stack([disturb(intended) for _ in range(steps)])


def test_noise_levels_vary_and_spare_the_switch():
    config = DisturbanceConfig(clean=0.3, noise=0.3, burst_rate=0.0)
    levels = []
    for seed in range(200):
        disturb, actions = disturbed(config, seed, steps=50)
        levels.append(disturb.noise)
        assert (actions[:, 2] == -1).all()
        assert actions[:, :2].std(0).max() < 2 * disturb.noise + 1e-6
    assert 0.2 < np.mean(np.array(levels) == 0) < 0.4
    assert 0.25 < max(levels) <= 0.3


def test_bursts_hold_one_action_with_the_switch():
    config = DisturbanceConfig(clean=0.0, noise=0.0, burst_rate=0.05, pause=0.0)
    disturb, actions = disturbed(config, 0)
    pushed = (actions != np.array([0.1, -0.1, -1.0], np.float32)).any(-1)
    edges = np.flatnonzero((np.diff(actions, axis=0) != 0).any(-1)) + 1
    runs = [run for run in np.split(actions, edges) if not np.allclose(run[0], [0.1, -0.1, -1.0])]
    assert len(runs) == disturb.bursts > 5
    assert {len(run) for run in runs[:-1]} == {3, 4, 5, 6}
    assert {float(run[0, 2]) for run in runs} == {-1.0, 1.0}
    assert 0.1 < pushed.mean() < 0.35


def test_pauses_hold_still_and_leave_the_switch():
    config = DisturbanceConfig(clean=0.0, noise=0.0, burst_rate=0.05, pause=1.0)
    disturb, actions = disturbed(config, 0)
    assert disturb.bursts > 5
    seen = {tuple(action) for action in actions.astype(float).round(3).tolist()}
    assert seen == {(0.1, -0.1, -1.0), (0.0, 0.0, -1.0)}
    still = (actions[:, :2] == 0).all(-1)
    assert 0.1 < still.mean() < 0.35


def test_leaning_adds_one_offset_for_a_while_and_leaves_the_switch():
    config = DisturbanceConfig(clean=0.0, noise=0.0, burst_rate=0.05, pause=0.0, lean=1.0)
    disturb, actions = disturbed(config, 0)
    assert (actions[:, 2] == -1).all()
    offsets = (actions[:, :2] - np.array([0.1, -0.1])).round(5)
    runs = np.split(offsets, np.flatnonzero((np.diff(offsets, axis=0) != 0).any(-1)) + 1)
    leaning = [run for run in runs if np.linalg.norm(run[0]) > 0.01]
    assert len(leaning) == disturb.bursts > 5
    assert all(0.29 < np.linalg.norm(run[0]) < 1.01 for run in leaning)
    assert all(6 <= len(run) <= 18 for run in leaning[:-1])


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """Nine episodes by two workers, and what they told."""
    folder, told = tmp_path_factory.mktemp("collected"), []
    config = CollectConfig(episodes=9, workers=2, shard_episodes=2, disturbance=ROUGH)
    settings = {"environment": {"task": "point", "cameras": ("front",)}}
    dataset = collect(PointEnv, PointExpert, config, folder, settings, told.append)
    return folder, config, settings, dataset, told


def test_workers_collect_each_seed_once(collected):
    _, _, _, dataset, told = collected
    assert [e.info["seed"] for e in dataset.episodes] == list(range(9))
    assert told[0] == 0
    assert sorted(news.seed for news in told[1:]) == list(range(9))
    assert all(isinstance(news, Collected) for news in told[1:])
    assert sum(news.steps for news in told[1:]) == dataset.steps
    assert len(dataset.infos) == 5


def test_an_episode_follows_from_its_seed_alone(collected):
    for stored in collected[3].episodes:
        assert_equal(stored.load(), episode(stored.info["seed"], ROUGH))


def test_again_collects_what_is_missing(collected):
    folder, config, settings, dataset, _ = collected
    lost = dataset.episodes[4].path
    kept = {path: path.stat().st_mtime_ns for path in dataset.infos if path != lost}
    lost.unlink()
    (folder / ".shard_00007.hdf5.123.new").write_bytes(b"half")
    told = []
    again = collect(
        PointEnv,
        PointExpert,
        dataclasses.replace(config, episodes=10),
        folder,
        settings,
        told.append,
    )
    assert told[0] == 7
    assert sorted(news.seed for news in told[1:]) == [4, 5, 9]
    assert [e.info["seed"] for e in again.episodes] == list(range(10))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not list(folder.glob("*.new")) + list(folder.glob(".*.new"))
    assert_equal(again.episodes[4].load(), episode(4, ROUGH))


def test_other_settings_are_refused(collected):
    folder, config, settings, _, _ = collected
    before = sorted(folder.iterdir())
    for other in (
        dataclasses.replace(config, extra_steps=1),
        dataclasses.replace(config, max_steps=5),
        dataclasses.replace(config, disturbance=CALM),
        dataclasses.replace(config, split="validation"),
    ):
        with pytest.raises(UserError, match="another `out`"):
            collect(PointEnv, PointExpert, other, folder, settings)
    with pytest.raises(UserError, match="environment"):
        collect(PointEnv, PointExpert, config, folder, {"environment": {"task": "line"}})
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"episodes": 0},
        {"workers": 0},
        {"extra_steps": -1},
        {"max_steps": 0},
        {"split": "test"},
        {"disturbance": DisturbanceConfig(clean=2.0)},
        {"disturbance": DisturbanceConfig(pause=-1.0)},
        {"disturbance": DisturbanceConfig(burst_min=5, burst_max=2)},
    ],
)
def test_bad_settings(tmp_path, wrong):
    with pytest.raises(UserError):
        collect(PointEnv, PointExpert, CollectConfig(**wrong), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failing_worker_is_heard_and_loses_nothing(tmp_path):
    config = CollectConfig(episodes=4, workers=1, shard_episodes=2, disturbance=CALM)
    failing = functools.partial(PointEnv, fails_at=3)
    with pytest.raises(RuntimeError, match="no scene for seed 3"):
        collect(failing, PointExpert, config, tmp_path)
    assert [e.info["seed"] for e in open_dataset(tmp_path).episodes] == [0, 1]


def test_a_worker_that_dies_is_a_sentence(tmp_path):
    config = CollectConfig(episodes=2, workers=1)
    with pytest.raises(UserError, match="worker died"):
        collect(functools.partial(os._exit, 9), PointExpert, config, tmp_path)


SLOW = """
import signal
import sys, time
from robowm.data.collect import CollectConfig, collect
from tests.data.toys import PointEnv, PointExpert

class SlowEnv(PointEnv):
    def step(self, action):
        assert "torch" not in sys.modules  # it would double a worker's memory and start-up
        time.sleep(0.002)
        return super().step(action)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is deaf to it
    config = CollectConfig(episodes=int(sys.argv[2]), workers=2, shard_episodes=2)
    collect(SlowEnv, PointExpert, config, sys.argv[1], progress=lambda news: print(news, flush=True))
"""


def start(tmp_path, episodes):
    script = tmp_path / "slow.py"
    script.write_text(textwrap.dedent(SLOW))
    command = [sys.executable, str(script), str(tmp_path / "out"), str(episodes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def wait_for_news(process, episodes):
    for _ in range(episodes + 1):
        process.stdout.readline()


def test_a_kill_leaves_whole_shards_and_no_workers(tmp_path):
    process = start(tmp_path, 60)
    wait_for_news(process, 7)
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    assert len(children) >= 2
    with pytest.raises(UserError, match="another process"):
        collect(PointEnv, PointExpert, CollectConfig(), tmp_path / "out")
    process.kill()
    process.wait()
    kept = [e.info["seed"] for e in open_dataset(tmp_path / "out").episodes]
    assert 0 < len(kept) < 60
    deadline = time.monotonic() + 5
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, children))
    again = start(tmp_path, 12)
    assert again.wait(timeout=120) == 0
    seeds = [e.info["seed"] for e in open_dataset(tmp_path / "out").episodes]
    assert set(seeds) >= set(range(12)) | set(kept)
    assert len(seeds) == len(set(seeds))


def alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_an_interrupt_keeps_what_is_finished(tmp_path):
    process = start(tmp_path, 600)  # far more than can be done before the signal
    wait_for_news(process, 5)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=120)
    assert process.returncode != 0
    assert 5 <= len(open_dataset(tmp_path / "out").episodes) < 600
