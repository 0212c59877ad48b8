"""Collecting on a Ray cluster of two nodes, started on this machine."""

import os

import pytest

from robowm.data.collect import CollectConfig, collect
from robowm.data.disturbance import DisturbanceConfig
from robowm.errors import UserError
from tests.data.toys import PointEnv, PointExpert, assert_equal

ray = pytest.importorskip("ray", reason="Ray is not there: pip install 'robowm[cluster]'")
pytestmark = pytest.mark.slow  # a cluster takes its time to start
CONFIG = {
    "episodes": 6,
    "shard_episodes": 2,
    "disturbance": DisturbanceConfig(clean=0.0, noise=0.3),
}


@pytest.fixture(scope="module")
def address():
    os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112  (as Ray reads it)
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for _ in range(2):  # the first is the head
            cluster.add_node(num_cpus=1, include_dashboard=False, object_store_memory=100 * 2**20)
        yield cluster.address
    finally:
        cluster.shutdown()


def test_two_nodes_collect_what_one_process_collects(address, tmp_path):
    told = []
    there = collect(
        PointEnv,
        PointExpert,
        CollectConfig(**CONFIG, workers=2, cluster=address),
        tmp_path / "cluster",
        progress=told.append,
    )
    here = collect(PointEnv, PointExpert, CollectConfig(**CONFIG, workers=1), tmp_path / "here")
    assert told[0] == 0 and sorted(news.seed for news in told[1:]) == list(range(6))
    assert len(list((tmp_path / "cluster").glob("*.hdf5"))) == 3
    episodes = [{e.info["seed"]: e.load() for e in dataset.episodes} for dataset in (there, here)]
    for seed in range(6):
        assert_equal(episodes[0][seed], episodes[1][seed])


class Fails:
    def __init__(self):
        raise UserError("there is no such task")


def test_what_goes_wrong_there_is_told_here(address, tmp_path):
    with pytest.raises(UserError, match="there is no such task"):
        collect(Fails, PointExpert, CollectConfig(**CONFIG, cluster=address), tmp_path)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:port"])
def test_no_cluster_is_a_sentence(address, tmp_path):
    config = CollectConfig(**CONFIG, cluster=address)
    with pytest.raises(UserError, match="no Ray cluster answers"):
        collect(PointEnv, PointExpert, config, tmp_path)
