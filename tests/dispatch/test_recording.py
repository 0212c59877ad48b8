"""The recorder: what it is told is in the bag, whoever reads it, and it is in nobody's way."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from robowm.dispatch.record import recording
from robowm.dispatch.record.account import account
from robowm.dispatch.record.bag import messages, read_run
from robowm.dispatch.record.episodes import episodes_of
from robowm.dispatch.record.recording import Recorder, RecorderConfig
from robowm.dispatch.record.records import Event, Executed, Judged, Kind, Observed, Planned, Sent
from robowm.errors import UserError
from tests.dispatch import recorded
from tests.dispatch.live import LiveArm, dispatching, until
from tests.dispatch.recorded import ARM, SPEC, check_same

ROOT = Path(__file__).parents[2]


def test_what_is_recorded_is_read_again(tmp_path):
    told = recorded.records(workspace_high=(0.1, 1.0, 1.0))  # refusals among them
    run = read_run(recorded.record(tmp_path / "run", told))
    assert [type(r) for r in run.records] == [type(r) for r in told]
    for ours, theirs in zip(told, run.records, strict=True):
        check_same({**vars(ours), "wall_s": 0.0}, {**vars(theirs), "wall_s": 0.0})
    assert run.spec == SPEC and run.joints == ARM.joints
    assert run.about == {"checkpoint": "somewhere"}
    assert run.dropped == {"dropped_pictures": 0, "dropped_records": 0}


def test_other_readers_see_the_same_values(tmp_path):
    from mcap_ros2.reader import read_ros2_messages
    from rosbags.highlevel import AnyReader

    told = recorded.records(max_steps=3)
    path = recorded.record(tmp_path / "run", told)
    ours = list(messages(path))
    theirs = list(read_ros2_messages(str(path)))
    assert [m.channel.topic for m in theirs] == [topic for topic, _, _ in ours]
    assert [m.log_time_ns for m in theirs] == [wall_ns for _, _, wall_ns in ours]
    seen = [r.observation for r in told if isinstance(r, Observed)]
    sent = next(r.chunk for r in told if isinstance(r, Sent))
    by_topic = {}
    for m in theirs:
        by_topic.setdefault(m.channel.topic, []).append(m.ros_msg)
    for said, observation in zip(by_topic["/joint_states"], seen, strict=True):
        assert list(said.name) == list(ARM.joints)
        np.testing.assert_array_equal(said.position, observation.q)
        stamp_s = said.header.stamp.sec + said.header.stamp.nanosec / 1e9
        assert stamp_s == pytest.approx(observation.stamp_s)
    pictures = {id(o.arrays["image_front"]): o.arrays["image_front"] for o in seen}
    for said, picture in zip(by_topic["/camera/front/image_raw"], pictures.values(), strict=True):
        assert (said.height, said.width, said.encoding) == (16, 16, "rgb8")
        assert bytes(said.data) == picture.tobytes()
    points = by_topic["/joint_trajectory_controller/joint_trajectory"][0].points
    np.testing.assert_array_equal([p.positions for p in points], sent.q)
    assert json.loads(by_topic["/robowm/decision"][0].data)["accepted"] is True

    # rosbags opens the folder, with the metadata.yaml that ROS tools expect, as well as the file.
    for place in (path, path.parent):
        with AnyReader([place]) as reader:
            found = [
                (c.topic, t, reader.deserialize(d, c.msgtype)) for c, t, d in reader.messages()
            ]
        assert [(topic, t) for topic, t, _ in found] == [(topic, t) for topic, _, t in ours]
        states = [m for topic, _, m in found if topic == "/joint_states"]
        np.testing.assert_array_equal([m.position for m in states], [o.q for o in seen])


def test_every_chunk_is_indexed(tmp_path):
    """The index is what lets a reader seek; mcap checks it and every checksum."""
    from mcap.reader import make_reader

    path = recorded.record(tmp_path / "run", recorded.records(max_steps=3))
    with path.open("rb") as file:
        summary = make_reader(file, validate_crcs=True).get_summary()
        assert summary is not None and summary.chunk_indexes
        assert summary.statistics.message_count == len(list(messages(path)))


def test_a_picture_that_is_seen_again_is_written_once(tmp_path):
    first = next(r for r in recorded.records(max_steps=1) if isinstance(r, Observed))
    path = recorded.record(tmp_path / "run", [first, first, first])
    topics = [topic for topic, _, _ in messages(path)]
    assert topics.count("/camera/front/image_raw") == 1 and topics.count("/joint_states") == 3
    for record in read_run(path).records:
        check_same(record.observation, first.observation)


def test_what_a_fault_makes_of_numbers_is_kept_as_far_as_it_can_be(tmp_path, caplog):
    first = next(r for r in recorded.records(max_steps=1) if isinstance(r, Observed))
    nan = np.full(3, np.nan)
    frozen = dataclasses.replace(first.observation, q=nan, stamp_s=np.nan, age_s=np.inf)
    absurd = dataclasses.replace(first.observation, q=np.array(["a"]))
    event = Event(first.wall_s, np.nan, Kind.HOLD, "before any observation")
    told = [Observed(1.0, frozen), Observed(1.0, absurd), event]
    run = read_run(recorded.record(tmp_path / "run", told))
    kept, held = run.records
    check_same(kept.observation.q, nan)
    assert np.isnan(kept.stamp_s) and np.isnan(kept.observation.age_s) and np.isnan(held.stamp_s)
    assert run.dropped["dropped_records"] == 1 and "Observed was left out" in caplog.text


def test_the_log_time_is_the_wall_clock(tmp_path):
    later_s = time.time() + 5.0
    run = read_run(recorded.record(tmp_path / "run", [Event(later_s, 0.0, Kind.MODE, "auto")]))
    assert run.records[0].wall_s == pytest.approx(later_s, abs=1e-6)


def test_log_times_increase_though_the_clock_is_set_back(tmp_path):
    told = [Event(wall_s, 0.0, Kind.MODE, str(wall_s)) for wall_s in (50.0, 20.0, 50.0, 60.0)]
    path = recorded.record(tmp_path / "run", told)
    assert [r.message for r in read_run(path).records] == ["50.0", "20.0", "50.0", "60.0"]
    times = [wall_ns for _, _, wall_ns in messages(path)]
    assert times == sorted(set(times))


# ---------------------------------------------------------------------- never in the way


@pytest.fixture
def stuck(monkeypatch):
    """A disk that writes nothing until the event is set."""
    free = threading.Event()
    write = recording._Bag.write

    def wait(self, topic, *rest):
        if topic != "/robowm/run":
            free.wait(60)
        write(self, topic, *rest)

    monkeypatch.setattr(recording._Bag, "write", wait)
    yield free
    free.set()


def test_a_slow_disk_costs_pictures_and_not_the_loop(tmp_path, stuck, caplog):
    first = next(r for r in recorded.records(max_steps=1) if isinstance(r, Observed))
    picture = first.observation.arrays["image_front"]
    waiting = RecorderConfig(waiting_mib=5 * picture.nbytes / 2**20)
    recorder = Recorder(tmp_path / "run", SPEC, ARM, config=waiting)
    longest_s = 0.0
    for step in range(200):
        arrays = {**first.observation.arrays, "image_front": picture.copy()}
        seen = dataclasses.replace(first.observation, arrays=arrays)
        began = time.thread_time()
        recorder(Observed(time.time(), seen, step))
        longest_s = max(longest_s, time.thread_time() - began)
    assert longest_s < 0.05  # of its own time: the machine may be busy
    assert recorder.dropped_pictures == 195 and recorder.dropped_records == 0
    stuck.set()
    recorder.close()
    run = read_run(recorder.path)
    assert len(run.records) == 200 and run.dropped["dropped_pictures"] == 195
    assert sum("image_front" in r.observation.arrays for r in run.records) == 5
    np.testing.assert_array_equal(run.records[199].observation.arrays["proprio"], arrays["proprio"])
    assert "pictures are being left out" in caplog.text and "lacks 195 pictures" in caplog.text


def test_what_waits_is_bounded(tmp_path, stuck):
    recorder = Recorder(tmp_path / "run", SPEC, ARM, config=RecorderConfig(waiting_records=10))
    for at in range(100):
        recorder(Event(time.time(), float(at), Kind.MISSED))
    assert 89 <= recorder.dropped_records <= 90  # the thread may have taken one
    stuck.set()
    recorder.close()
    run = read_run(recorder.path)
    assert len(run.records) + recorder.dropped_records == 100
    assert run.dropped["dropped_records"] == recorder.dropped_records


def test_a_disk_that_fails_is_said_and_stops_nothing(tmp_path, monkeypatch, caplog):
    recorder = Recorder(tmp_path / "run", SPEC, ARM, config=RecorderConfig(waiting_records=2))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording._Bag, "write", full)
    for at in range(20):
        recorder(Event(time.time(), float(at), Kind.LATE))
    recorder.close()
    recorder(Event(time.time(), 0.0, Kind.LATE))
    assert "No space left on device" in caplog.text
    assert read_run(recorder.path).records == ()


def test_a_bag_is_never_written_over(tmp_path):
    path = recorded.record(tmp_path / "run", [])
    before = path.read_bytes()
    with pytest.raises(UserError, match="is there already"):
        Recorder(tmp_path / "run", SPEC, ARM)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a bag cannot be made"):
        Recorder(tmp_path / "file" / "run", SPEC, ARM)


def test_without_rosbags_the_line_that_installs_it_is_said(tmp_path, monkeypatch):
    from robowm.dispatch.wire import cdr

    cdr.store.cache_clear()
    monkeypatch.setitem(sys.modules, "rosbags.typesys", None)
    with pytest.raises(UserError, match=r"pip install 'robowm\[record\]'"):
        Recorder(tmp_path / "run", SPEC, ARM)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name, value", [("waiting_records", 0), ("waiting_mib", -1.0)])
def test_limits_that_cannot_be_meant(name, value):
    with pytest.raises(UserError, match=name):
        RecorderConfig(**{name: value})


def test_a_dispatcher_in_real_time_is_recorded(tmp_path):
    arm = LiveArm()
    with Recorder(tmp_path / "run", SPEC, arm.spec) as recorder, dispatching(arm=arm) as dispatcher:
        dispatcher.listen(recorder)
        until(lambda: dispatcher.status().sent >= 5)
        dispatcher.estop()
        until(lambda: any(r.kind is Kind.ESTOP for r in dispatcher.records if type(r) is Event))
    run = read_run(recorder.path)
    told = dispatcher.records[-len(run.records) :]  # the recorder came a moment later
    for ours, theirs in zip(told, run.records, strict=True):
        check_same({**vars(ours), "wall_s": 0.0}, {**vars(theirs), "wall_s": 0.0})
    assert {type(r) for r in run.records} == {Observed, Planned, Judged, Sent, Executed, Event}
    data = account(run)
    assert data["followed"] >= 4 and data["events"]["estop"] == 1
    assert data["tracking"]["slide_x"]["largest"] < 0.05
    episode = max(episodes_of(run), key=len)
    episode.check(SPEC)
    assert len(episode) >= 2 and episode.info["broken_off"]


# ---------------------------------------------------------------------- killed

WRITER = """
import sys, time
from pathlib import Path
from robowm.dispatch.record.recording import Recorder
from robowm.dispatch.record.records import Observed
from tests.dispatch import recorded
first = recorded.records(max_steps=1)[0].observation
recorder = Recorder(Path(sys.argv[1]), recorded.SPEC, recorded.ARM)
step = 0
while True:
    recorder(Observed(time.time(), first, step))
    print(time.time(), flush=True)
    step += 1
    time.sleep(0.02)
"""


def test_a_killed_process_loses_less_than_a_second(tmp_path):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'envs'}"}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "run")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        told = [float(writer.stdout.readline())]
        while told[-1] - told[0] < 2.0:
            told.append(float(writer.stdout.readline()))
    finally:
        writer.send_signal(signal.SIGKILL)
        told += [float(line) for line in writer.stdout.read().splitlines() if "." in line]
        writer.wait(30)
    run = read_run(tmp_path / "run" / "run.mcap")
    assert run.dropped is None and not (tmp_path / "run" / "metadata.yaml").exists()
    assert len(run.records) > 5
    assert told[-1] - run.records[-1].wall_s < 1.0
    assert [r.step for r in run.records] == list(range(len(run.records)))

    # Other tools' way of recovery finds as much: all whole chunks, without an index.
    from mcap.exceptions import McapError
    from mcap.reader import NonSeekingReader

    found = 0
    with (tmp_path / "run" / "run.mcap").open("rb") as file:
        try:
            for _, channel, _ in NonSeekingReader(file).iter_messages(log_time_order=False):
                found += channel.topic == "/joint_states"
        except McapError:
            pass
    assert found == len(run.records)
