"""The few ROS messages that dispatch speaks, as plain data that no middleware is needed for.

Each knows its ROS 2 name and how it is filled in: :func:`fill` makes an object of any middleware's own
classes, :func:`read` makes plain data of one. Fields have the same names in ROS 1, ROS 2 and rosbags.
Stamps are seconds since the epoch of whoever sends; units are SI.
"""

from __future__ import annotations

import array
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NS = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class JointState:
    """Attributes:
    position, velocity, effort: [N], in the order of ``names``; empty where it is not measured.
    """

    ros: ClassVar[str] = "sensor_msgs/msg/JointState"
    stamp_s: float
    names: tuple[str, ...]
    position: Array
    velocity: Array
    effort: Array = dataclasses.field(default_factory=lambda: np.zeros(0))


@dataclasses.dataclass(frozen=True)
class JointTrajectory:
    """Attributes:
    stamp_s: start; 0 means on arrival, which needs no synchronised clocks.
    time_s: [H] from the start.
    position, velocity: [H, N].
    """

    ros: ClassVar[str] = "trajectory_msgs/msg/JointTrajectory"
    stamp_s: float
    names: tuple[str, ...]
    time_s: Array
    position: Array
    velocity: Array


@dataclasses.dataclass(frozen=True)
class Image:
    """Attributes:
    pixels: uint8 [H, W, 3], red first.
    """

    ros: ClassVar[str] = "sensor_msgs/msg/Image"
    stamp_s: float
    pixels: NDArray[np.uint8]
    frame: str = ""


@dataclasses.dataclass(frozen=True)
class CompressedImage:
    """Attributes:
    data: a JPEG or PNG file.
    """

    ros: ClassVar[str] = "sensor_msgs/msg/CompressedImage"
    stamp_s: float
    data: bytes
    format: str = "jpeg"


@dataclasses.dataclass(frozen=True)
class Numbers:
    ros: ClassVar[str] = "std_msgs/msg/Float64MultiArray"
    data: Array


@dataclasses.dataclass(frozen=True)
class Text:
    """Often JSON."""

    ros: ClassVar[str] = "std_msgs/msg/String"
    data: str


Message = JointState | JointTrajectory | Image | CompressedImage | Numbers | Text
KINDS: tuple[type[Message], ...] = (
    JointState, JointTrajectory, Image, CompressedImage, Numbers, Text,
)  # fmt: skip
BY_NAME = {kind.ros: kind for kind in KINDS}


def fill(message: Message, make: Callable[..., Any], *, octets: Callable[[bytes], Any]) -> Any:
    """An object of some middleware's classes.

    Args:
      make: called with the ROS 2 name of a type and its fields.
      octets: what that middleware wants as an array of bytes.
    """

    def header(stamp_s: float, frame: str = "") -> Any:
        return make("std_msgs/msg/Header", stamp=time_of(stamp_s, make), frame_id=frame)

    if isinstance(message, JointState):
        return make(
            message.ros,
            header=header(message.stamp_s),
            name=list(message.names),
            position=_floats(message.position),
            velocity=_floats(message.velocity),
            effort=_floats(message.effort),
        )
    if isinstance(message, JointTrajectory):
        points = [
            make(
                "trajectory_msgs/msg/JointTrajectoryPoint",
                positions=_floats(q),
                velocities=_floats(dq),
                accelerations=_floats(()),
                effort=_floats(()),
                time_from_start=duration_of(float(t), make),
            )
            for t, q, dq in zip(message.time_s, message.position, message.velocity, strict=True)
        ]
        names = list(message.names)
        return make(message.ros, header=header(message.stamp_s), joint_names=names, points=points)
    if isinstance(message, Image):
        pixels = np.ascontiguousarray(message.pixels, np.uint8)
        height, width, channels = pixels.shape
        return make(
            message.ros,
            header=header(message.stamp_s, message.frame),
            height=height,
            width=width,
            encoding="rgb8",
            is_bigendian=0,
            step=width * channels,
            data=octets(pixels.tobytes()),
        )
    if isinstance(message, CompressedImage):
        return make(
            message.ros,
            header=header(message.stamp_s),
            format=message.format,
            data=octets(message.data),
        )
    if isinstance(message, Numbers):
        layout = make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
        return make(message.ros, layout=layout, data=_floats(message.data))
    return make(message.ros, data=message.data)


def read(kind: type[Any], sent: Any) -> Any:
    """Plain data of that kind of what some middleware delivered; ValueError where it cannot be read."""
    if kind is JointState:
        return JointState(
            seconds(sent.header.stamp),
            tuple(sent.name),
            np.array(sent.position, np.float64),
            np.array(sent.velocity, np.float64),
            np.array(sent.effort, np.float64),
        )
    if kind is JointTrajectory:
        n = len(sent.joint_names)
        return JointTrajectory(
            seconds(sent.header.stamp),
            tuple(sent.joint_names),
            np.array([seconds(p.time_from_start) for p in sent.points]),
            np.array([p.positions for p in sent.points], np.float64).reshape(-1, n),
            np.array([p.velocities for p in sent.points], np.float64).reshape(-1, n),
        )
    if kind is Image:
        return Image(seconds(sent.header.stamp), _pixels(sent), sent.header.frame_id)
    if kind is CompressedImage:
        return CompressedImage(seconds(sent.header.stamp), bytes(sent.data), sent.format)
    if kind is Numbers:
        return Numbers(np.array(sent.data, np.float64))
    return Text(sent.data)


def time_of(stamp_s: float, make: Callable[..., Any]) -> Any:
    ns = round(stamp_s * NS)
    return make("builtin_interfaces/msg/Time", sec=ns // NS, nanosec=ns % NS)


def duration_of(span_s: float, make: Callable[..., Any]) -> Any:
    ns = round(span_s * NS)
    return make("builtin_interfaces/msg/Duration", sec=ns // NS, nanosec=ns % NS)


def seconds(stamp: Any) -> float:
    """Of a Time or Duration, of ROS 1 or 2."""
    if hasattr(stamp, "nanosec"):
        return float(stamp.sec + stamp.nanosec / NS)
    return float(stamp.secs + stamp.nsecs / NS)


_CHANNELS = {
    "rgb8": (0, 1, 2),
    "bgr8": (2, 1, 0),
    "rgba8": (0, 1, 2),
    "bgra8": (2, 1, 0),
    "mono8": (0, 0, 0),
}


def _pixels(sent: Any) -> NDArray[np.uint8]:
    if sent.encoding not in _CHANNELS:
        raise ValueError(
            f"a picture is encoded as {sent.encoding!r}: publish one of {', '.join(_CHANNELS)}."
        )
    channels = {"mono8": 1, "rgb8": 3, "bgr8": 3}.get(sent.encoding, 4)
    flat = np.frombuffer(memoryview(sent.data), np.uint8)
    if sent.step < sent.width * channels or len(flat) < sent.step * sent.height:
        raise ValueError(f"a picture of {sent.width} x {sent.height} has {len(flat)} bytes.")
    rows = flat[: sent.step * sent.height].reshape(sent.height, sent.step)
    pixels = rows[:, : sent.width * channels].reshape(sent.height, sent.width, channels)
    return np.ascontiguousarray(pixels[..., list(_CHANNELS[sent.encoding])])


def _floats(values: Any) -> array.array[float]:
    return array.array("d", np.asarray(values, np.float64).tobytes())
