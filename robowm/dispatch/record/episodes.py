"""From the records of a run to episodes that can be learned from."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robowm.data.episode import Array, Episode, Floats
from robowm.dispatch.record.bag import Run
from robowm.dispatch.record.records import Event, Executed, Judged, Kind, Observed, Record, Sent
from robowm.spec import TaskSpec

SHADOW = "shadow"  # the message of a mode
NAN = np.float32(np.nan)
Arrays = dict[str, Array]
Seen = tuple[float, Arrays]  # stamp and arrays


def episodes_of(run: Run) -> list[Episode]:
    """What was seen and done, step by step; an episode in which steps were not seen falls into several.

    Nobody measures an object's pose or a reward beside a real arm: these are NaN, as is success but for
    the end of an episode that was told its result. The actions of one that succeeded are labels to
    imitate, but not where the arm stood for want of a plan. An episode whose end is not known is broken off. Of a run in ``shadow`` nothing is made: what
    moves the arm there is not recorded.
    """
    seen: dict[int, dict[int, Seen]] = {}
    ends_s: dict[int, float] = {}
    done: dict[int, dict[int, Floats]] = {}
    led: dict[int, set[int]] = {}  # steps in which the arm followed a plan
    shadow, rest_s = False, -math.inf
    for record in run.records:
        if isinstance(record, Event) and record.kind is Kind.MODE:
            shadow = record.message == SHADOW
        elif isinstance(record, Observed) and record.step is not None:
            ends_s[record.episode] = record.stamp_s
            if arrays := _complete(record, run.spec):
                seen.setdefault(record.episode, {})[record.step] = record.stamp_s, arrays
        elif isinstance(record, Executed) and not shadow:
            done.setdefault(record.episode, {})[record.step] = record.action
            if record.stamp_s < rest_s:
                led.setdefault(record.episode, set()).add(record.step)
        if isinstance(record, Sent) and record.receipt.accepted:
            rest_s = record.chunk.end_s
        elif brakes(record):
            rest_s = -math.inf
    results = results_of(run.records)
    found: list[Episode] = []
    for number in sorted(seen):
        steps = done.get(number, {})
        for stretch in _stretches(seen[number], steps):
            ends = seen[number][stretch[-1] + 1][0] == ends_s[number]
            success = success_of(results.get(number)) if ends else None
            info = {
                "task": run.spec.task,
                "split": "run",
                "seed": len(found),
                "bag": str(run.path),
                "episode": number,
                "first_step": stretch[0],
                "broken_off": success is None,
            }
            rows = [seen[number][t][1] for t in (*stretch, stretch[-1] + 1)]
            actions = np.stack([steps[t] for t in stretch])
            imitated = np.full_like(actions, NAN)
            if success:
                follows = [t in led.get(number, ()) for t in stretch]
                imitated[follows] = actions[follows]
            found.append(_episode(run.spec, rows, actions, imitated, success, info))
    return found


def brakes(record: Record) -> bool:
    """Whether the arm brakes, by itself, from here on."""
    if isinstance(record, Judged):
        return not (record.decision.accepted or record.preview)
    return isinstance(record, Event) and record.kind in (Kind.HOLD, Kind.ESTOP, Kind.EPISODE)


def results_of(records: Sequence[Record]) -> dict[int, Mapping[str, Any]]:
    """What the task said of each episode, by its number."""
    found: dict[int, Mapping[str, Any]] = {}
    episode = 0
    for record in records:
        if isinstance(record, Observed):
            episode = record.episode
        elif isinstance(record, Event) and record.kind is Kind.RESULT:
            found[episode] = json.loads(record.message)
    return found


def success_of(result: Mapping[str, Any] | None) -> bool | None:
    """Whether a result is one; None where it does not say so."""
    value = (result or {}).get("success")
    return value > 0.5 if isinstance(value, int | float) else None


def _complete(record: Observed, spec: TaskSpec) -> Arrays | None:
    """The arrays that an agent of ``spec`` sees, if all of them are there and are numbers."""
    arrays: Arrays = {}
    for name, expected in spec.observation.items():
        array = record.observation.arrays.get(name)
        if array is None or np.shape(array) != expected.shape:
            return None
        arrays[name] = np.asarray(array, expected.dtype)
        if not (expected.is_image or np.isfinite(arrays[name]).all()):
            return None
    return arrays


def _stretches(seen: Mapping[int, Seen], done: Mapping[int, Floats]) -> Iterator[list[int]]:
    """Runs of steps, each done and seen before and after; one that was ended at once took no time."""
    whole = sorted(t for t in done if t in seen and t + 1 in seen and seen[t][0] < seen[t + 1][0])
    for _, steps in itertools.groupby(enumerate(whole), lambda at: at[1] - at[0]):
        yield [t for _, t in steps]


def _episode(
    spec: TaskSpec,
    rows: Sequence[Arrays],
    actions: NDArray[np.float32],
    imitated: NDArray[np.float32],
    success: bool | None,
    info: dict[str, Any],
) -> Episode:
    steps = len(actions)
    succeeded = np.full(steps + 1, NAN)
    if success is not None:
        succeeded[-1] = success
    return Episode(
        observations={name: np.stack([row[name] for row in rows]) for name in spec.observation},
        actions=actions,
        expert_actions=imitated,
        rewards=np.full(steps, NAN),
        terminal=False,
        success=succeeded,
        privileged={
            name: np.full((steps + 1, *array.shape), NAN) for name, array in spec.privileged.items()
        },
        states=np.zeros((steps + 1, 0)),
        info=info,
    )
