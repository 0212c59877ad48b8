"""scripts/imagine.py by its command line, on an untrained model and real episodes."""

import json

import av
import numpy as np
import pytest

import imagine as script
import robowm_envs
from robowm import cli
from robowm.data.collect import collect_episode
from robowm.data.store import EpisodeWriter
from robowm.spec import TaskSpec
from robowm_envs.expert import Expert


def call(*arguments):
    return cli.call(script.main, "imagine", ["+preset=debug", *arguments])


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    """A folder with one held-out episode of the task that the checkpoint was made for."""
    folder = tmp_path_factory.mktemp("data")
    env = robowm_envs.make("grasp_rotate_place", split="validation")
    with EpisodeWriter(folder / "shard_00000.hdf5", TaskSpec.from_env(env)) as writer:
        writer.add(collect_episode(env, Expert(env), 4))
    env.close()
    return folder


def test_numbers_films_and_page_of_episodes_collected_now(untrained, tmp_path):
    assert call(f"checkpoint={untrained}", f"out={tmp_path}", "film.count=2", "seed=3") == 0
    data = json.loads((tmp_path / "open_loop.json").read_text())
    assert data["seeds"] == [3, 4] and data["split"] == "validation"
    assert data["pose"]["horizon"] == list(range(1, 11))
    for quantity in ("position_cm", "rotation_deg"):
        curves = data["pose"][quantity]
        assert set(curves) == {"imagined", "posterior", "copy_last"}
        assert all(np.isfinite(curve["mean"]).all() for curve in curves.values())
    assert len(data["ranking"]["correlations"]) + data["ranking"]["tied"] == 2
    films = sorted(tmp_path.glob("*.mp4"))
    assert len(films) == 2
    for path in films:
        with av.open(path) as container:
            assert container.streams.video[0].codec_context.name == "h264"
            assert sum(1 for _ in container.decode(video=0)) > 10
    assert (tmp_path / "open_loop.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report.html").read_text()
    assert page.index("<table") < page.index("<svg") < page.index("<video")
    assert page.count("<video") == 2


def test_stored_episodes_are_used_and_ranking_may_be_left_out(untrained, episodes, tmp_path):
    settings = [f"data={episodes}", "ranking.starts=0", "film.count=0"]
    assert call(f"checkpoint={untrained}", f"out={tmp_path}", *settings) == 0
    data = json.loads((tmp_path / "open_loop.json").read_text())
    assert data["seeds"] == [4] and data["ranking"] is None
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["checkpoint=nowhere"], "there is no checkpoint at nowhere"),
        (["split=validatoin"], "did you mean 'validation'?"),
        (["data=nowhere"], "there is no data at nowhere"),
        (["episodes=0"], "episodes is 0"),
        (["film.ahead=0"], "ahead 0"),
        (["open_lop.context=3"], "open_loop.context"),
        (["open_loop.context=500"], "no episode is longer than the context of 500"),
        (["open_loop.stride=0"], "open_loop.stride is 0"),
        (["ranking.candidates=1"], "ranking.candidates is 1"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(untrained, tmp_path, capfd, settings, said):
    assert call(f"checkpoint={untrained}", "episodes=1", *settings, f"out={tmp_path / 'out'}") == 2
    error = capfd.readouterr().err.strip()
    assert error.startswith("error: ") and said in error and "\n" not in error
    assert not (tmp_path / "out").exists()
