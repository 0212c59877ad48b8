import csv
import io
import json

import numpy as np
import pytest

from robowm.errors import UserError
from robowm.tracking import LOGGERS, TrackingConfig, make_logger, video
from robowm.tracking.jsonl import JsonLinesLogger
from robowm.tracking.protocol import Logger

FRAMES = np.random.default_rng(0).integers(0, 255, (4, 32, 48, 3), np.uint8)


def read(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_one_object_a_step_in_standard_json(tmp_path):
    logger = JsonLinesLogger(tmp_path)
    logger.log(1, {"loss": 0.1 + 0.2, "bad": float("nan")})
    logger.log(2, {"loss": np.float32(2.0)})
    assert read(tmp_path) == [
        {"step": 1, "loss": 0.1 + 0.2, "bad": None},  # on disk before it is closed
        {"step": 2, "loss": 2.0},
    ]
    logger.close()


def test_resuming_cuts_the_file_back_to_the_step(tmp_path):
    logger = JsonLinesLogger(tmp_path)
    for step in range(1, 6):
        logger.log(step, {"loss": step})
    logger.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed in the middle of a line
    logger = JsonLinesLogger(tmp_path)
    logger.resume(3, {})
    logger.log(4, {"loss": 40})
    logger.close()
    assert [(r["step"], r["loss"]) for r in read(tmp_path)] == [(1, 1), (2, 2), (3, 3), (4, 40)]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_tables_are_csv(tmp_path):
    logger = JsonLinesLogger(tmp_path)
    logger.table(7, "evaluation/starts", ("seed", "note"), [(0, "a,b"), (1, "c")])
    with (tmp_path / "tables/evaluation/starts_step_00000007.csv").open() as file:
        assert list(csv.reader(file)) == [["seed", "note"], ["0", "a,b"], ["1", "c"]]


def test_videos_are_h264_that_decodes_to_the_frames(tmp_path):
    av = pytest.importorskip("av")
    smooth = np.repeat(np.arange(0, 240, 60, dtype=np.uint8), 31 * 47 * 3).reshape(4, 31, 47, 3)
    logger = JsonLinesLogger(tmp_path)
    logger.video(3, "imagined", smooth, fps=10)
    with av.open(str(tmp_path / "videos" / "imagined_step_00000003.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.average_rate == 10
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert np.shape(frames) == (4, 32, 48, 3)  # odd sides padded
    assert np.abs(np.stack(frames)[:, :31, :47].astype(int) - smooth).max() < 6


@pytest.mark.parametrize("frames", [FRAMES[:0], FRAMES[0], FRAMES.astype(np.float32)])
def test_what_is_no_video_is_said(frames):
    with pytest.raises(UserError, match="expected uint8"):
        video.encode_mp4(frames, 10)


def test_an_unknown_logger_lists_the_known(tmp_path):
    with pytest.raises(UserError, match=r"'wandb'.*tensorboard, wandb"):
        make_logger(TrackingConfig(kind="wand"), tmp_path, {})


@pytest.mark.parametrize("kind", ["jsonl", *LOGGERS])
def test_every_choice_keeps_the_interface_and_writes_the_lines(tmp_path, kind, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")  # wandb itself: test_wandb.py
    logger = make_logger(TrackingConfig(kind=kind), tmp_path, {"a": 1})
    assert isinstance(logger, Logger)
    logger.resume(0, {})
    logger.log(1, {"loss": 1.0})
    logger.video(1, "clip", FRAMES, 10)
    logger.table(1, "rows", ("a",), [(1,)])
    state = json.loads(json.dumps(logger.state_dict()))
    logger.close()
    again = make_logger(TrackingConfig(kind=kind), tmp_path, {"a": 1})
    again.resume(1, state)
    again.log(2, {"loss": 2.0})
    again.close()
    assert read(tmp_path) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}]


def test_tensorboard_reads_it_back_and_forgets_what_came_after_the_checkpoint(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from PIL import Image

    logger = make_logger(TrackingConfig(kind="tensorboard"), tmp_path, {})
    for step in (1, 2, 3):
        logger.log(step, {"loss": float(step)})
    logger.video(1, "clip", FRAMES, 10)
    logger.close()
    logger.resume(2, {})
    logger.log(3, {"loss": 30.0})
    logger.close()
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 30.0)]
    image = Image.open(io.BytesIO(events.Images("clip")[0].encoded_image_string))
    assert (image.format, image.size, image.n_frames) == ("GIF", (48, 32), 4)
