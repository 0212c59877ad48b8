import dataclasses

import h5py
import numpy as np
import pytest

from robowm.data import store
from robowm.data.store import EpisodeWriter, open_dataset
from robowm.errors import UserError
from tests.data.toys import assert_equal, point_spec, random_episode, write


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_what_is_written_is_read_to_the_bit(tmp_path, compression):
    episodes = [random_episode(seed, steps=40 - 13 * seed) for seed in range(3)]
    write(tmp_path / "a.hdf5", episodes, compression=compression, info={"from": "here"})
    dataset = open_dataset(tmp_path)
    assert dataset.spec == point_spec()
    assert dataset.steps == sum(map(len, episodes))
    assert list(dataset.infos.values()) == [{"from": "here"}]
    for stored, episode in zip(dataset.episodes, episodes, strict=True):
        assert stored.length == len(episode)
        assert_equal(stored.load(), episode)


def test_parts_can_stay_on_disk(tmp_path):
    write(tmp_path / "a.hdf5", [random_episode(0)])
    episode = open_dataset(tmp_path).episodes[0].load(images=False, states=False)
    assert set(episode.observations) == {"proprio", "goal"}
    assert episode.states.shape == (len(episode) + 1, 0)


def test_episode_without_states(tmp_path):
    episode = dataclasses.replace(random_episode(0, steps=3), states=np.zeros((4, 0)))
    write(tmp_path / "a.hdf5", [episode])
    assert_equal(open_dataset(tmp_path).episodes[0].load(), episode)


def test_layout_is_robomimics(tmp_path):
    """What robomimic's own reader takes: groups, names, lengths."""
    episode = random_episode(0, steps=5, terminal=True)
    with h5py.File(write(tmp_path / "a.hdf5", [episode], model_xml="<mujoco/>")) as file:
        demo = file["data/demo_0"]
        assert demo.attrs["num_samples"] == file["data"].attrs["total"] == 5
        assert "env_name" in file["data"].attrs["env_args"]
        assert file["model_xml"].asstr()[()] == "<mujoco/>"
        lengths = {len(demo[k]) for k in ("actions", "rewards", "dones", "states")}
        assert lengths | {len(array) for array in demo["obs"].values()} == {5}
        assert demo["dones"][()].tolist() == [0, 0, 0, 0, 1]
        assert set(demo["obs"]) == set(demo["final_obs"]) == set(point_spec().observation)


def test_episodes_come_in_the_order_of_seeds(tmp_path):
    write(tmp_path / "b.hdf5", [random_episode(s) for s in (3, 0)])
    write(tmp_path / "a.hdf5", [random_episode(s) for s in (2, 10, 1)])
    seeds = [episode.info["seed"] for episode in open_dataset(tmp_path).episodes]
    assert seeds == [0, 1, 2, 3, 10]


def test_nothing_appears_before_the_block_ends_well(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        EpisodeWriter(tmp_path / "a.hdf5", point_spec()) as writer,
    ):
        writer.add(random_episode(0))
        with pytest.raises(UserError, match=r"holds no .*collect"):
            open_dataset(tmp_path)
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
    with EpisodeWriter(tmp_path / "a.hdf5", point_spec()):
        pass  # no episode: no file
    assert list(tmp_path.iterdir()) == []


def test_refuses_what_does_not_fit_the_spec(tmp_path):
    good = random_episode(0, steps=4)
    long = dataclasses.replace(good, rewards=np.zeros(5, np.float32))
    infinite = dataclasses.replace(good, actions=good.actions * np.float32(np.inf))
    blind = dataclasses.replace(good, observations={"proprio": good.observations["proprio"]})
    path = write(tmp_path / "a.hdf5", [random_episode(9)])
    for bad, said in ((long, "rewards"), (infinite, "not finite"), (blind, "image_front")):
        with pytest.raises(UserError, match=said):
            write(path, [bad])
    assert [e.info["seed"] for e in open_dataset(path).episodes] == [
        9
    ]  # the old shard is untouched


def test_what_nobody_measured_is_nan_and_comes_back(tmp_path):
    def unknown(array):
        return np.full_like(array, np.nan)

    good = random_episode(0, steps=4)
    real = dataclasses.replace(
        good,
        expert_actions=unknown(good.expert_actions),
        rewards=unknown(good.rewards),
        success=unknown(good.success),
        privileged={name: unknown(array) for name, array in good.privileged.items()},
    )
    path = write(tmp_path / "a.hdf5", [real])
    read = open_dataset(path).episodes[0].load()
    assert np.isnan(read.rewards).all() and np.isnan(read.expert_actions).all()
    blind = {**good.observations, "proprio": unknown(good.observations["proprio"])}
    for bad in (
        dataclasses.replace(good, actions=unknown(good.actions)),
        dataclasses.replace(good, observations=blind),
        dataclasses.replace(good, rewards=np.full(4, np.inf, np.float32)),
    ):
        with pytest.raises(UserError, match="not finite"):
            write(tmp_path / "b.hdf5", [bad])


def test_unknown_compression_names_the_known(tmp_path):
    with pytest.raises(UserError, match="gzip"):
        EpisodeWriter(tmp_path / "a.hdf5", point_spec(), compression="gzp")


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(UserError, match="no data at"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no"):
        open_dataset(tmp_path)


def load_everything(folder):
    for episode in open_dataset(folder).episodes:
        episode.load()


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_truncated_file_is_said_in_one_sentence(tmp_path, kept):
    path = write(tmp_path / "a.hdf5", [random_episode(s) for s in range(3)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(UserError, match=r"a\.hdf5 cannot be read") as caught:
        load_everything(tmp_path)
    assert "\n" not in str(caught.value)


def test_flipped_byte_in_pictures_is_noticed(tmp_path):
    path = write(tmp_path / "a.hdf5", [random_episode(0, steps=10)])
    with h5py.File(path) as file:
        chunk = file["data/demo_0/obs/image_front"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        load_everything(tmp_path)


def test_other_files_and_versions(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(UserError, match="no episodes of robowm"):
        open_dataset(tmp_path)
    monkeypatch.setattr(store, "VERSION", 99)
    write(tmp_path / "a.hdf5", [random_episode(0)])
    monkeypatch.undo()
    with pytest.raises(UserError, match="version 99"):
        open_dataset(tmp_path)


def test_two_tasks_in_one_folder(tmp_path):
    write(tmp_path / "a.hdf5", [random_episode(0)])
    write(tmp_path / "b.hdf5", [random_episode(1)], dataclasses.replace(point_spec(), task="line"))
    with pytest.raises(UserError, match="'line'"):
        open_dataset(tmp_path)


def test_reads_what_another_reader_has_open(tmp_path):
    path = write(tmp_path / "a.hdf5", [random_episode(0)])
    with h5py.File(path, "r"):
        assert len(open_dataset(tmp_path).episodes) == 1
