"""Messages as bytes, and bytes as messages: nothing is lost, and what is damaged is said to be."""

from __future__ import annotations

import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robowm.dispatch.wire import cdr
from robowm.dispatch.wire.messages import (
    BY_NAME,
    CompressedImage,
    Image,
    JointState,
    JointTrajectory,
    Numbers,
    Text,
    fill,
    read,
)
from tests.dispatch.test_links import MESSAGES, same

STAMPS = st.floats(0, 2e9).map(lambda s: round(s, 6))
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
VECTORS = arrays.arrays(np.float64, st.integers(0, 9), elements=st.floats())


@st.composite
def trajectories(draw):
    names = tuple(draw(st.lists(TEXTS, min_size=1, max_size=8)))
    h, shape = draw(st.integers(0, 8)), (0, len(names))
    points = arrays.arrays(np.float64, (h, shape[1]), elements=st.floats())
    times = np.round(np.cumsum(np.full(h, draw(st.floats(1e-3, 2.0)))), 6)
    return JointTrajectory(draw(STAMPS), names, times, draw(points), draw(points))


ANY = st.one_of(
    st.builds(
        JointState, STAMPS, st.lists(TEXTS, max_size=8).map(tuple), VECTORS, VECTORS, VECTORS
    ),
    trajectories(),
    st.builds(
        Image,
        STAMPS,
        arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 7), st.just(3))),
        TEXTS,
    ),
    st.builds(CompressedImage, STAMPS, st.binary(max_size=30), TEXTS),
    st.builds(Numbers, VECTORS),
    st.builds(Text, TEXTS),
)


@settings(deadline=None)
@given(ANY)
def test_bytes_become_the_message_that_they_were_made_of(message):
    same(message, cdr.deserialise(message.ros, cdr.serialise(message)))


@settings(deadline=None)
@given(st.sampled_from(MESSAGES), st.data())
def test_damaged_bytes_are_an_error_or_a_message(message, data):
    whole = bytes(cdr.serialise(message))
    keep = data.draw(st.integers(0, len(whole)))
    noise = data.draw(st.binary(max_size=8))
    try:
        heard = cdr.deserialise(message.ros, whole[:keep] + noise)
    except ValueError:
        return
    assert type(heard) is type(message)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_cyclone_describes_the_same_types_as_the_bytes_have(name):
    """Its own serialiser, from the type that is announced, makes the bytes that rosbags makes."""
    pytest.importorskip("cyclonedds")
    from robowm.dispatch.wire.dds import idl

    def filled(kind, /, **fields):
        plain = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in fields.items()}
        sample = idl(kind)()
        vars(sample).update(plain)
        return sample

    for message in (message for message in MESSAGES if message.ros == name):
        sample = fill(message, filled, octets=list)
        theirs = sample.__idl__.serialize(sample, use_version_2=False)
        ours = bytes(cdr.serialise(message))
        assert theirs[4:].rstrip(b"\0") == ours[4:].rstrip(b"\0")


@pytest.mark.parametrize(
    "encoding, values, expected",
    [
        ("rgb8", [1, 2, 3], [1, 2, 3]),
        ("bgr8", [3, 2, 1], [1, 2, 3]),
        ("rgba8", [1, 2, 3, 255], [1, 2, 3]),
        ("bgra8", [3, 2, 1, 255], [1, 2, 3]),
        ("mono8", [7], [7, 7, 7]),
    ],
)
def test_pictures_of_any_encoding_are_red_first(encoding, values, expected):
    row = bytes(values * 2) + b"pad"  # rows may be longer than their pixels
    stamp = types.SimpleNamespace(sec=1, nanosec=500_000_000)
    sent = types.SimpleNamespace(
        header=types.SimpleNamespace(stamp=stamp, frame_id="f"),
        encoding=encoding, height=2, width=2, step=len(row), data=row * 2,
    )  # fmt: skip
    image = read(Image, sent)
    assert image.stamp_s == 1.5 and image.pixels.shape == (2, 2, 3)
    assert (image.pixels == expected).all()
    sent.encoding = "yuv422"
    with pytest.raises(ValueError, match="yuv422"):
        read(Image, sent)
