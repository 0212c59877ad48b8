"""What a run looks like in a bag: records as ROS messages, and back.

========================================================= =================================================
/robowm/run                                     String    first: task, spec, checkpoint, configuration, version
/joint_states                                   JointState
/camera/NAME/image_raw                          Image     a picture once, however often it is observed
/robowm/array/NAME                              Float64MultiArray, of an observation's other arrays
/robowm/observation                             String    closes an observation, names its arrays
/robowm/imagined/NAME                           Image     [H + 1] pictures of a plan, one below the other
/robowm/plan                                    String
/robowm/proposed_trajectory, /robowm/decision   JointTrajectory, String: what was judged, and how
/joint_trajectory_controller/joint_trajectory   JointTrajectory, handed to the arm
/robowm/receipt                                 String    what became of it
/robowm/executed, /robowm/event                 String
/robowm/recording                               String    last: what the recorder had to leave out
========================================================= =================================================

Strings are JSON. Header stamps are of the observation's clock; log times are of the wall clock and strictly
increase. What is not finite is null in JSON and comes back as NaN.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from robowm.dispatch.arm import ArmObservation, Chunk, Receipt
from robowm.dispatch.record.records import (
    Event,
    Executed,
    Judged,
    Kind,
    Observed,
    Planned,
    Record,
    Sent,
    plain,
)
from robowm.dispatch.safety import Decision
from robowm.dispatch.wire.messages import Image, JointState, JointTrajectory, Message, Numbers, Text

FORMAT, VERSION = "robowm-run", 1
RUN, RECORDING = "/robowm/run", "/robowm/recording"
JOINT_STATES = "/joint_states"
SENT = "/joint_trajectory_controller/joint_trajectory"
PROPOSED = "/robowm/proposed_trajectory"
OBSERVATION, PLAN = "/robowm/observation", "/robowm/plan"
DECISION, RECEIPT = "/robowm/decision", "/robowm/receipt"
EXECUTED, EVENT = "/robowm/executed", "/robowm/event"
_CAMERA, _IMAGINED, _ARRAY = "/camera/", "/robowm/imagined/", "/robowm/array/"
_RAW = "/image_raw"
_PREFIX = "image_"  # of pictures among the arrays of a TaskSpec

Told = tuple[str, Message]


class Encoder:
    """Records to messages.

    Args:
      joints: names, in the order of every ``q``.
    """

    def __init__(self, joints: tuple[str, ...]):
        self._joints = joints
        self._written: dict[str, Any] = {}  # the picture of each name that was last written

    def __call__(self, record: Record) -> Iterator[Told]:
        if isinstance(record, Observed):
            yield from self._observed(record)
        elif isinstance(record, Planned):
            for name, frames in record.frames.items():
                height, *rest = frames.shape[1:]
                strip = frames.reshape(len(frames) * height, *rest)
                yield _IMAGINED + name, Image(_header(record.stamp_s), strip, record.plan_id)
            yield PLAN, _text(record, frames=list(record.frames))
        elif isinstance(record, Judged):
            yield PROPOSED, _trajectory(record.chunk)
            judged = {"accepted": record.decision.accepted, **plain(record.decision)}
            yield DECISION, _text(record, chunk=_timing(record.chunk), **judged)
        elif isinstance(record, Sent):
            yield SENT, _trajectory(record.chunk)
            yield RECEIPT, _text(record, chunk=_timing(record.chunk), **plain(record.receipt))
        else:
            yield EXECUTED if isinstance(record, Executed) else EVENT, _text(record)

    def _observed(self, record: Observed) -> Iterator[Told]:
        seen = record.observation
        stamp_s = _header(seen.stamp_s)
        effort = np.zeros(0) if seen.effort is None else seen.effort
        yield JOINT_STATES, JointState(stamp_s, self._joints, seen.q, seen.dq, effort)
        for name, array in seen.arrays.items():
            if not is_picture(array):
                yield _ARRAY + name, Numbers(np.asarray(array, np.float64).ravel())
            elif array is not self._written.get(name):
                self._written[name] = array
                yield _camera_topic(name), Image(stamp_s, array)
        yield (
            OBSERVATION,
            _json(
                stamp_s=seen.stamp_s,
                age_s=seen.age_s,
                received_s=seen.received_s,
                wrench=seen.wrench,
                step=record.step,
                episode=record.episode,
                arrays={name: list(np.shape(array)) for name, array in seen.arrays.items()},
            ),
        )


class Decoder:
    """Messages to records; raises ValueError, KeyError or TypeError on what no :class:`Encoder` wrote."""

    def __init__(self) -> None:
        self._joints: JointState | None = None
        self._arrays: dict[str, NDArray[Any]] = {}
        self._imagined: dict[str, NDArray[np.uint8]] = {}
        self._trajectory: JointTrajectory | None = None

    def __call__(self, topic: str, message: Message, wall_s: float) -> Record | None:
        """The record that this message completes, if it does."""
        if isinstance(message, JointState) and topic == JOINT_STATES:
            self._joints = message
        elif isinstance(message, JointTrajectory) and topic in (PROPOSED, SENT):
            self._trajectory = message
        elif isinstance(message, Numbers) and topic.startswith(_ARRAY):
            self._arrays[topic.removeprefix(_ARRAY)] = message.data
        elif isinstance(message, Image) and topic.startswith(_IMAGINED):
            self._imagined[topic.removeprefix(_IMAGINED)] = message.pixels
        elif isinstance(message, Image) and topic.startswith(_CAMERA) and topic.endswith(_RAW):
            self._arrays[_picture_name(topic)] = message.pixels
        elif isinstance(message, Text) and topic in self._TEXTS:
            return self._TEXTS[topic](self, json.loads(message.data), wall_s)
        return None

    def _observed(self, data: Mapping[str, Any], wall_s: float) -> Observed:
        if self._joints is None:
            raise ValueError("an observation has no joint states")
        arrays = {}
        for name, shape in data["arrays"].items():
            array = self._arrays[name]
            dtype = np.uint8 if array.dtype == np.uint8 else np.float32
            arrays[name] = array.astype(dtype, copy=False).reshape(shape)
        effort, wrench = self._joints.effort, data["wrench"]
        observation = ArmObservation(
            q=self._joints.position,
            dq=self._joints.velocity,
            arrays=arrays,
            stamp_s=_number(data["stamp_s"]),
            received_s=_number(data["received_s"]),
            age_s=_number(data["age_s"]),
            wrench=None if wrench is None else _numbers(wrench, np.float64),
            effort=effort if len(effort) else None,
        )
        return Observed(wall_s, observation, _maybe(int, data["step"]), int(data["episode"]))

    def _planned(self, data: Mapping[str, Any], wall_s: float) -> Planned:
        sequence = _numbers(data["sequence"], np.float32)
        frames = {}
        for name in data["frames"]:
            strip = self._imagined[name]
            frames[name] = strip.reshape(len(sequence) + 1, -1, *strip.shape[1:])
        return Planned(
            wall_s=wall_s,
            stamp_s=_number(data["stamp_s"]),
            plan_id=str(data["plan_id"]),
            step=int(data["step"]),
            lead_steps=int(data["lead_steps"]),
            action=_numbers(data["action"], np.float32),
            sequence=sequence,
            value=_number(data["value"]),
            success=_number(data["success"]),
            trusted_steps=int(data["trusted_steps"]),
            epistemic=_numbers(data["epistemic"], np.float32),
            planning_ms=_number(data["planning_ms"]),
            latency_s=_number(data["latency_s"]),
            frames=frames,
        )

    def _judged(self, data: Mapping[str, Any], wall_s: float) -> Judged:
        margins = {str(k): _number(v) for k, v in data["margins"].items()}
        return Judged(
            wall_s,
            _number(data["stamp_s"]),
            self._chunk(data["chunk"]),
            Decision(_words(data["reasons"]), margins, _words(data["broken"])),
            int(data["first"]),
            int(data["actions"]),
            bool(data["preview"]),
        )

    def _sent(self, data: Mapping[str, Any], wall_s: float) -> Sent:
        receipt = Receipt(bool(data["accepted"]), str(data["reason"]), int(data["sent"]))
        return Sent(wall_s, _number(data["stamp_s"]), self._chunk(data["chunk"]), receipt)

    def _executed(self, data: Mapping[str, Any], wall_s: float) -> Executed:
        action = _numbers(data["action"], np.float32)
        stamp_s, step, episode = _number(data["stamp_s"]), int(data["step"]), int(data["episode"])
        return Executed(wall_s, stamp_s, step, action, episode)

    def _event(self, data: Mapping[str, Any], wall_s: float) -> Event:
        stamp_s, kind = _number(data["stamp_s"]), Kind(data["kind"])
        return Event(wall_s, stamp_s, kind, str(data["message"]), str(data["plan_id"]))

    def _chunk(self, data: Mapping[str, Any]) -> Chunk:
        sent = self._trajectory
        if sent is None:
            raise ValueError("a decision or receipt has no trajectory")
        t0_s, dt_s = _number(data["t0_s"]), _number(data["dt_s"])
        return Chunk(t0_s, dt_s, sent.position, sent.velocity, str(data["plan_id"]), sent.names)

    _TEXTS: ClassVar[dict[str, Any]] = {
        OBSERVATION: _observed,
        PLAN: _planned,
        DECISION: _judged,
        RECEIPT: _sent,
        EXECUTED: _executed,
        EVENT: _event,
    }


def is_picture(array: Any) -> bool:
    """Whether an array of an observation is one, uint8 [H, W, 3]."""
    return np.ndim(array) == 3 and array.dtype == np.uint8 and array.shape[2] == 3


def _camera_topic(name: str) -> str:
    """``image_front`` is what the camera ``front`` shows."""
    return f"{_CAMERA}{name.removeprefix(_PREFIX)}{_RAW}"


def _picture_name(topic: str) -> str:
    return _PREFIX + topic.removeprefix(_CAMERA).removesuffix(_RAW)


def _trajectory(chunk: Chunk) -> JointTrajectory:
    time_s = chunk.dt_s * np.arange(1, len(chunk.q) + 1, dtype=np.float64)
    return JointTrajectory(_header(chunk.t0_s), chunk.joints, time_s, chunk.q, chunk.dq)


def _timing(chunk: Chunk) -> dict[str, Any]:
    """What a trajectory message does not hold, or only to the nanosecond."""
    return {"plan_id": chunk.plan_id, "t0_s": chunk.t0_s, "dt_s": chunk.dt_s}


def _text(record: Record, **instead: Any) -> Text:
    """The fields of a record, ``instead`` in the place of those that are more than numbers and words."""
    parts = {"wall_s", "decision", "receipt", *instead}  # the first is the log time
    names = [f.name for f in dataclasses.fields(record) if f.name not in parts]
    return _json(**{name: getattr(record, name) for name in names}, **instead)


def _json(**data: Any) -> Text:
    return Text(json.dumps(plain(data), allow_nan=False))


def _header(stamp_s: float) -> float:
    """A header cannot say that a time is unknown."""
    return stamp_s if math.isfinite(stamp_s) else 0.0


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _numbers(values: Any, dtype: Any) -> NDArray[Any]:
    return np.array(values, dtype)  # None becomes NaN


def _words(values: Any) -> tuple[str, ...]:
    return tuple(map(str, values))


def _maybe(kind: Any, value: Any) -> Any:
    return None if value is None else kind(value)
