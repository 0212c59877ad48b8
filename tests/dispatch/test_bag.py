"""Bags as they come: whole, cut off, garbled, or of somebody else."""

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from robowm.dispatch.arm import ArmObservation, Chunk, Receipt
from robowm.dispatch.record import recording
from robowm.dispatch.record.account import account
from robowm.dispatch.record.bag import bags_in, read_run
from robowm.dispatch.record.bag_format import Decoder, Encoder
from robowm.dispatch.record.episodes import episodes_of
from robowm.dispatch.record.records import Event, Executed, Judged, Kind, Observed, Planned, Sent
from robowm.dispatch.safety import Decision
from robowm.dispatch.wire.cdr import deserialise, serialise
from robowm.dispatch.wire.messages import Image, Text
from robowm.errors import UserError
from tests.dispatch import recorded
from tests.dispatch.recorded import check_same

JOINTS = ("a", "b")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a bag of several chunks, and its records."""
    told = recorded.records(max_steps=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "FLUSH_S", 0.002)
        path = recorded.record(tmp_path_factory.mktemp("bag") / "run", slowly(told))
    return path.read_bytes(), told


def slowly(told):
    for record in told:
        yield record
        time.sleep(0.005)


def read(tmp_path, data):
    path = tmp_path / "some.mcap"
    path.write_bytes(data)
    return read_run(path)


# ---------------------------------------------------------------------- what is told comes back

numbers = st.floats(allow_infinity=False)  # what is not finite comes back as NaN
times = st.floats(0, 1e9)
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
counts = st.integers(0, 2**31)


def floats(shape, dtype=np.float64):
    width = np.dtype(dtype).itemsize * 8
    return npst.arrays(dtype, shape, elements=st.floats(width=width, allow_infinity=False))


def pictures(*shape):
    return npst.arrays(np.uint8, (*shape, 3))


@st.composite
def observations(draw):
    arrays = {"image_front": draw(pictures(2, 3)), "goal": draw(floats(4, np.float32))}
    arrays["table"] = draw(floats((2, 3), np.float32))
    wrench, effort = (draw(st.none() | floats(n)) for n in (6, 2))
    q, dq = draw(floats(2)), draw(floats(2))
    return ArmObservation(q, dq, arrays, draw(times), draw(times), draw(numbers), wrench, effort)


@st.composite
def plans(draw):
    steps = draw(st.integers(1, 3))
    sequence = draw(floats((steps, 2), np.float32))
    frames = {"front": draw(pictures(steps + 1, 2, 2))} if draw(st.booleans()) else {}
    return Planned(
        1.0, draw(times), draw(words), draw(counts), draw(counts), sequence[0], sequence, draw(numbers),
        draw(numbers), draw(counts), draw(floats(steps, np.float32)), draw(numbers), draw(numbers), frames,
    )  # fmt: skip


@st.composite
def chunks(draw):
    shape = (draw(st.integers(1, 3)), 2)
    return Chunk(
        draw(times), draw(st.floats(0.01, 1)), draw(floats(shape)), draw(floats(shape)), draw(words), JOINTS
    )  # fmt: skip


decisions = st.builds(
    Decision,
    st.lists(words, max_size=2).map(tuple),
    st.dictionaries(words, numbers, max_size=3),
    st.lists(words, max_size=2).map(tuple),
)
receipts = st.builds(Receipt, st.booleans(), words, counts)
told = st.one_of(
    st.builds(Observed, st.just(1.0), observations(), st.none() | counts, counts),
    plans(),
    st.builds(Judged, st.just(1.0), times, chunks(), decisions, counts, counts, st.booleans()),
    st.builds(Sent, st.just(1.0), times, chunks(), receipts),
    st.builds(Executed, st.just(1.0), times, counts, floats(2, np.float32), counts),
    st.builds(Event, st.just(1.0), numbers, st.sampled_from(Kind), words, words),
)


@settings(deadline=None)
@given(st.lists(told, max_size=4))
def test_every_record_comes_back_as_it_was(records):
    encode, decode = Encoder(JOINTS), Decoder()
    back = []
    for record in records:
        for topic, message in encode(record):
            sent = deserialise(type(message).ros, serialise(message))
            back.append(decode(topic, sent, 1.0))
    check_same([record for record in back if record is not None], records)


def test_pictures_of_other_topics_are_none_of_ours():
    decode = Decoder()
    picture = Image(0.0, np.zeros((1, 1, 3), np.uint8))
    assert decode("/camera/front/depth", picture, 0.0) is None
    assert decode("/somebody/else", Text("not even JSON"), 0.0) is None


# ---------------------------------------------------------------------- damaged


def test_a_bag_without_its_end_has_what_came_before(tmp_path, whole):
    data, told = whole
    run = read(tmp_path, data[: data.rindex(b"\x0e\x00\x00\x00")])
    assert len(run.records) == len(told)  # only the index is gone


def test_wherever_a_bag_is_cut_it_is_read_or_said_to_be_damaged(tmp_path, whole):
    data, told = whole
    read_as = []
    for end in range(0, len(data), max(1, len(data) // 150)):
        try:
            run = read(tmp_path, data[:end])
        except UserError as error:
            assert "some.mcap" in str(error) and "\n" not in str(error)
        else:
            read_as.append(len(run.records))
            for ours, theirs in zip(told, run.records, strict=False):
                assert type(ours) is type(theirs)
    assert read_as == sorted(read_as) and read_as[-1] == len(told)
    assert len(set(read_as)) > 3  # by the chunk


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_garbled_bag_is_read_or_said_to_be_damaged(tmp_path_factory, whole, data):
    garbled = bytearray(whole[0])
    for at in data.draw(st.lists(st.integers(0, len(garbled) - 1), min_size=1, max_size=8)):
        garbled[at] = data.draw(st.integers(0, 255))
    try:
        run = read(tmp_path_factory.getbasetemp(), bytes(garbled))
    except UserError as error:
        assert "some.mcap" in str(error) and "\n" not in str(error)
    else:
        json.dumps(account(run), allow_nan=False)
        for episode in episodes_of(run):
            episode.check(run.spec)


def test_a_changed_byte_of_a_chunk_is_noticed(tmp_path, whole):
    data, told = bytearray(whole[0]), whole[1]
    begin = data.index(b"zstd") + 12  # its name, then its length in 8 bytes
    end = begin + int.from_bytes(data[begin - 8 : begin], "little")
    noticed, places = 0, range(begin, end, max(1, (end - begin) // 60))
    for at in places:
        data[at] ^= 0x10
        try:
            run = read(tmp_path, bytes(data))
        except UserError as error:
            assert "damaged" in str(error)
            noticed += 1
        else:  # zstd has more than one way to write the same
            for ours, theirs in zip(told, run.records, strict=True):
                check_same(ours, theirs)
        data[at] ^= 0x10
    assert noticed > 0.9 * len(places)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_any_bytes_are_no_bag(tmp_path_factory, data):
    for before in (b"", b"\x89MCAP0\r\n"):
        with pytest.raises(UserError, match=r"some\.mcap"):
            read(tmp_path_factory.getbasetemp(), before + data)


# ---------------------------------------------------------------------- foreign


def write_bag(folder, *told):
    """A bag of topics and messages, by rosbags alone."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    from robowm.dispatch.wire.cdr import store

    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        topics = {}
        for at, (topic, message) in enumerate(told):
            if topic not in topics:
                topics[topic] = bag.add_connection(topic, message.ros, typestore=store())
            bag.write(topics[topic], at, serialise(message))
    return folder / f"{folder.name}.mcap"


@pytest.mark.parametrize(
    "told",
    [
        [],
        [("/chatter", Text("hello"))],
        [("/robowm/run", Text("{}"))],
        [("/robowm/run", Text("[1]"))],
    ],
    ids=["empty", "another", "no head", "a list"],
)
def test_a_bag_of_somebody_else(tmp_path, told):
    with pytest.raises(UserError, match="holds no run of robowm"):
        read_run(write_bag(tmp_path / "other", *told))


@pytest.mark.parametrize(
    "topic, said",
    [
        ("/robowm/plan", "{}"),
        ("/robowm/plan", "no JSON"),
        ("/robowm/executed", '{"stamp_s": [], "step": 0, "action": [], "episode": 0}'),
        ("/robowm/decision", '{"chunk": {}, "margins": {}}'),
        ("/robowm/observation", "{}"),
        ("/robowm/event", '{"kind": "a party", "stamp_s": 0, "message": "", "plan_id": ""}'),
        ("/robowm/recording", "3"),
        ("/robowm/event", '{"kind": "result", "stamp_s": 0, "message": "3", "plan_id": ""}'),
        ("/robowm/executed", '{"stamp_s": 0, "step": 0, "action": [1, 2], "episode": 0}'),
    ],
)
def test_a_run_with_nonsense_in_it(tmp_path, topic, said):
    head = {"format": "robowm-run", "version": 1, "spec": recorded.SPEC.to_dict()}
    head |= {"arm": {"joints": ["x"]}, "about": {}}
    path = write_bag(tmp_path / "run", ("/robowm/run", Text(json.dumps(head))), (topic, Text(said)))
    with pytest.raises(UserError, match="damaged"):
        read_run(path)


def test_a_bag_of_another_version_names_it(tmp_path):
    head = Text(json.dumps({"format": "robowm-run", "version": 99}))
    with pytest.raises(UserError, match="version 99"):
        read_run(write_bag(tmp_path / "run", ("/robowm/run", head)))


def test_bags_are_found_below_a_folder(tmp_path):
    for name in ("b", "a"):
        recorded.record(tmp_path / name / "run", [])
    found = [str(path.relative_to(tmp_path)) for path in bags_in(tmp_path)]
    assert found == ["a/run/run.mcap", "b/run/run.mcap"]
    assert bags_in(tmp_path / "a/run/run.mcap") == [tmp_path / "a/run/run.mcap"]


def test_where_there_is_no_bag(tmp_path):
    with pytest.raises(UserError, match="there is no bag"):
        bags_in(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no \.mcap file"):
        bags_in(tmp_path)
