import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robowm.data.replay import SequenceReplay, align
from robowm.data.store import Dataset, open_dataset
from robowm.errors import UserError
from robowm.learning.packing import pack, unpack
from tests.data.toys import random_episode, write


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Twelve random episodes of 1 to 11 steps in two shards, both ways of ending among them."""
    folder = tmp_path_factory.mktemp("data")
    episodes = [random_episode(seed) for seed in range(12)]
    assert {episode.terminal for episode in episodes} == {True, False}
    write(folder / "a.hdf5", episodes[:5])
    write(folder / "b.hdf5", episodes[5:], compression="none")
    return open_dataset(folder)


def replay_of(dataset, **options) -> SequenceReplay:
    options = {"batch_size": 8, "length": 9, **options}
    return SequenceReplay(dataset, **options)


def assert_same(a, b):
    assert list(a) == list(b)
    for name in a:
        assert torch.equal(a[name], b[name]), name


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.booleans())
def test_rows_of_an_episode(seed, steps, terminal):
    episode = random_episode(seed, steps, terminal)
    rows = align(episode)
    assert {len(array) for array in rows.values()} == {steps + 1}
    np.testing.assert_array_equal(rows["prev_action"][1:], rows["action"][:-1])
    np.testing.assert_array_equal(rows["action"][:-1], episode.actions)
    np.testing.assert_array_equal(rows["expert_action"][:-1], episode.expert_actions)
    for name in ("action", "expert_action", "has_action"):
        assert not rows[name][-1].any()
    for name in ("prev_action", "reward"):
        assert not rows[name][0].any()
    np.testing.assert_array_equal(rows["reward"][1:], episode.rewards)
    assert rows["has_action"].sum() == steps
    assert rows["is_first"].tolist() == [True] + [False] * steps
    assert rows["cont"].tolist() == [1] * steps + [0 if terminal else 1]
    assert (rows["outcome"] == episode.success[-1]).all()
    assert all(array.dtype in (np.float32, np.uint8, np.bool_) for array in rows.values())


def test_how_a_broken_off_episode_would_have_ended_is_not_known():
    episode = random_episode(0, 5, terminal=False)
    episode.info["broken_off"] = True
    assert np.isnan(align(episode)["outcome"]).all()


def test_a_share_of_the_episodes_keeps_its_labels(dataset):
    def labels(share):
        batch = replay_of(dataset, batch_size=64, length=1, labelled=share).sample()
        return torch.cat([v.flatten(1) for k, v in batch.items() if k.startswith("privileged/")], 1)

    assert labels(1.0).isfinite().all()
    assert labels(0.0).isnan().all()
    told = labels(0.5).isfinite()
    assert told.any() and not told.all()
    assert (told.all(1) | ~told.any(1)).all(), "an episode has all of its labels or none"
    with pytest.raises(UserError, match="labelled"):
        replay_of(dataset, labelled=2.0)


def test_labels_of_an_unknown_origin_are_refused(dataset):
    with pytest.raises(UserError, match=r"'gras': did you mean 'grasp'\?"):
        replay_of(dataset, labels="gras")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 40), st.booleans())
def test_windows(dataset, seed, batch_size, length, streamed):
    """Whatever is drawn: each row continues the one before, or begins an episode."""
    memory = 0.0 if streamed else 1.0
    replay = replay_of(
        dataset, seed=seed, batch_size=batch_size, length=length, memory_limit_gib=memory
    )
    batch = {name: tensor.numpy() for name, tensor in replay.sample().items()}
    spec = dataset.spec
    for name, array in {
        **spec.observation,
        **{f"privileged/{k}": v for k, v in spec.privileged.items()},
    }.items():
        assert batch[name].shape == (batch_size, length, *array.shape)
        assert batch[name].dtype == array.dtype
    now, then = (
        {k: v[:, :-1] for k, v in batch.items()},
        {k: v[:, 1:] for k, v in batch.items()},
    )
    ended = now["has_action"] == 0
    np.testing.assert_array_equal(ended, then["is_first"])
    follows = ~then["is_first"]
    np.testing.assert_array_equal(then["prev_action"][follows], now["action"][follows])
    assert not then["prev_action"][~follows].any()
    assert not then["reward"][~follows].any()
    np.testing.assert_array_equal(now["outcome"][follows], then["outcome"][follows])
    assert ((now["cont"] == 1) | ended).all()


def test_windows_hold_what_the_episodes_hold(dataset):
    """Pictures, vectors and targets of a row belong to the same step of the same episode."""
    episodes = [stored.load() for stored in dataset.episodes]
    known = {
        e.observations["proprio"][t].tobytes(): (e, t) for e in episodes for t in range(len(e) + 1)
    }
    batch = replay_of(dataset, batch_size=32).sample()
    for index in np.ndindex(32, 9):
        episode, t = known[batch["proprio"][index].numpy().tobytes()]
        np.testing.assert_array_equal(
            batch["image_front"][index], episode.observations["image_front"][t]
        )
        np.testing.assert_array_equal(
            batch["privileged/object_position"][index], episode.privileged["object_position"][t]
        )
        assert batch["success"][index] == episode.success[t]


def test_every_column_is_uniform_over_rows(dataset):
    replay = replay_of(dataset, batch_size=4000, length=12)
    proprio = replay.sample()["proprio"][..., 0].numpy()
    for column in (0, 1, 11):
        _, counts = np.unique(proprio[:, column], return_counts=True)
        assert len(counts) == replay.rows
        expected = 4000 / replay.rows
        # 6 standard deviations: an endless stream of seeds would fail once in many millions.
        assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)


def test_streaming_draws_the_same(dataset):
    memory, disk, both = (replay_of(dataset, memory_limit_gib=gib) for gib in (1.0, 0.0, 1e-5))
    assert memory.streamed == 0
    assert disk.streamed == 12
    assert 0 < both.streamed < 12
    assert both.memory_bytes < memory.memory_bytes
    for _ in range(3):
        batch = memory.sample()
        assert_same(batch, disk.sample())
        assert_same(batch, both.sample())


def test_batches_do_not_share_memory(dataset):
    replay = replay_of(dataset, seed=1)
    first = replay.sample()
    kept = {name: tensor.clone() for name, tensor in first.items()}
    for tensor in replay.sample().values():
        tensor.zero_()
    assert_same(first, kept)
    replay.load_state_dict(replay_of(dataset, seed=1).state_dict())
    assert_same(replay.sample(), kept)


def test_goes_on_exactly_from_its_state(dataset):
    one = replay_of(dataset, seed=3)
    one.sample()
    plain, tensors = pack(one.state_dict())
    state = unpack(json.loads(json.dumps(plain)), tensors)  # as a checkpoint keeps it
    two = replay_of(dataset, seed=4)
    two.load_state_dict(state)
    for _ in range(3):
        assert_same(one.sample(), two.sample())


def test_seeds_differ(dataset):
    a, b = (replay_of(dataset, seed=seed).sample()["proprio"] for seed in (0, 1))
    assert not torch.equal(a, b)


@pytest.mark.parametrize("memory", [1.0, 0.0])
def test_added_episodes_are_drawn_and_survive(dataset, tmp_path, memory):
    options = {"memory_limit_gib": memory, "added": tmp_path / "online", "length": 30}
    one = replay_of(dataset, **options)
    before = one.state_dict()
    new = random_episode(100, steps=20)
    one.add(new)
    assert one.episodes == 13
    assert one.rows == dataset.steps + 12 + 21
    seen = {tuple(v) for _ in range(20) for v in one.sample()["proprio"].reshape(-1, 2).tolist()}
    assert {tuple(v) for v in new.observations["proprio"].tolist()} <= seen
    two = replay_of(dataset, **options)
    two.load_state_dict(one.state_dict())
    assert_same(one.sample(), two.sample())
    two.load_state_dict(before)  # the episode came after this state
    assert two.episodes == 12
    two.add(random_episode(101))
    three = replay_of(dataset, **options)
    three.load_state_dict(two.state_dict())
    assert_same(two.sample(), three.sample())


def test_adding_needs_a_folder(dataset):
    with pytest.raises(UserError, match="added"):
        replay_of(dataset).add(random_episode(0))


def test_state_of_other_data_is_refused(dataset, tmp_path):
    other = open_dataset(write(tmp_path / "a.hdf5", [random_episode(50)]))
    with pytest.raises(UserError, match="12 episodes"):
        replay_of(dataset).load_state_dict(replay_of(other).state_dict())


def test_several_datasets(dataset, tmp_path):
    other = open_dataset(write(tmp_path / "a.hdf5", [random_episode(50)]))
    replay = replay_of([dataset, other])
    assert replay.episodes == 13
    assert set(replay.sample()) == set(replay_of(dataset).sample())


def test_bad_arguments(dataset):
    for options in ({"batch_size": 0}, {"length": 0}, {"memory_limit_gib": -1}, {"labelled": 1.5}):
        with pytest.raises(UserError):
            replay_of(dataset, **options)
    with pytest.raises(UserError):
        replay_of([])


def test_shard_that_vanishes_or_breaks_while_streaming(dataset, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(dataset.episodes[0].path.parent, folder)
    replay = replay_of(open_dataset(folder), memory_limit_gib=0.0, batch_size=64)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="cannot be read"):
        replay.sample()
