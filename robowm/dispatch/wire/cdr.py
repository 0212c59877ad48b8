"""Messages as bytes, the way ROS 2 puts them on the wire and into bags (CDR), by ``rosbags``."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from robowm.dispatch.wire.messages import BY_NAME, Message, fill, read
from robowm.errors import UserError


@functools.cache
def store() -> Any:
    """The types of ROS 2; raises UserError where rosbags is not installed."""
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise UserError(
            "ROS messages are read and written by rosbags: pip install 'robowm[record]'."
        ) from error
    return get_typestore(Stores.ROS2_JAZZY)


def serialise(message: Message) -> memoryview | bytes:
    return store().serialize_cdr(fill(message, _make, octets=_octets), message.ros)


def deserialise(name: str, data: bytes | memoryview) -> Any:
    """A message of the type of that ROS 2 name; ValueError where the bytes are none."""
    try:
        return read(BY_NAME[name], store().deserialize_cdr(data, name))
    except ValueError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise ValueError(f"{len(data)} bytes are no {name}: {error}") from error


def _make(name: str, /, **fields: Any) -> Any:
    for key, value in fields.items():
        if hasattr(value, "typecode"):  # rosbags wants arrays of NumPy
            fields[key] = np.frombuffer(value, np.float64)
    return store().types[name](**fields)


def _octets(data: bytes) -> Any:
    return np.frombuffer(data, np.uint8)
