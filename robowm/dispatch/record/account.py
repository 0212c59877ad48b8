"""What a run came to, told from its records alone, as plain data."""

from __future__ import annotations

import collections
import datetime
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robowm.dispatch.record.bag import Run
from robowm.dispatch.record.episodes import brakes, results_of, success_of
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
from robowm.dispatch.trajectory import Trajectory

Floats = NDArray[np.float64]
# Two of a kind are one where only their numbers differ; joint names keep theirs.
_NUMBER = re.compile(r"(?<![\w.])-?\d+(\.\d+)?(e[-+]?\d+)?")


def account(run: Run) -> dict[str, Any]:
    """Plain data for JSON; times are seconds since the first observation, on its clock.

    ``series`` has columns of equal length for plots; a number that is not known is None.
    """
    records = run.records
    observed = _all(records, Observed)
    planned, judged, sent = _all(records, Planned), _all(records, Judged), _all(records, Sent)
    stamps = [r.stamp_s for r in observed if math.isfinite(r.stamp_s)]
    begin_s, end_s = min(stamps, default=0.0), max(stamps, default=0.0)
    refusals = collections.Counter(_refusals(judged, sent))
    events = _all(records, Event)
    counted = collections.Counter(event.kind for event in events)
    tracking = tracking_errors(records)
    return plain(
        {
            "bag": str(run.path),
            "task": run.spec.task,
            "checkpoint": run.about.get("checkpoint"),
            "closed": run.dropped is not None,
            "dropped": dict(run.dropped or {}),
            "began": _date(records),
            "duration_s": end_s - begin_s,
            "observations": len(observed),
            "steps": len(_all(records, Executed)),
            "plans": len(planned),
            "judged": len(judged),
            "refused": sum(not r.decision.accepted for r in judged),
            "sent": len(sent),
            "followed": sum(r.receipt.accepted for r in sent),
            "refusals": [
                {"by": by, "reason": reason, "times": times}
                for (by, reason), times in refusals.most_common()
            ],
            "events": {kind.value: count for kind, count in counted.most_common()},
            "success": [success_of(result) for result in results_of(records).values()],
            "results": {str(episode): r for episode, r in results_of(records).items()},
            "latency_ms": {
                "from observation to plan": _spread(1e3 * r.latency_s for r in planned),
                "planning": _spread(r.planning_ms for r in planned),
                "age of observations": _spread(1e3 * r.observation.age_s for r in observed),
            },
            "tracking": {
                joint: {"mean": np.nanmean(column), "largest": np.nanmax(column)}
                for joint, column in zip(run.joints, tracking[1].T, strict=False)
                if np.isfinite(column).any()
            },
            "plan_kept": plan_kept(records),
            "series": {
                "plans": {
                    "time_s": [r.stamp_s - begin_s for r in planned],
                    "success": [r.success for r in planned],
                    "value": [r.value for r in planned],
                    "trusted_steps": [r.trusted_steps for r in planned],
                    "latency_ms": [1e3 * r.latency_s for r in planned],
                },
                "decisions": {
                    "time_s": [r.stamp_s - begin_s for r in judged],
                    "accepted": [r.decision.accepted for r in judged],
                    "margins": _margins(judged),
                },
                "tracking": {"time_s": tracking[0] - begin_s, "worst": _worst(tracking[1])},
            },
            "log": [
                {
                    "time_s": event.stamp_s - begin_s,
                    "kind": event.kind,
                    "message": event.message,
                    "plan_id": event.plan_id,
                }
                for event in events
                if event.kind is not Kind.RESULT  # of them there is a table
            ],
        }
    )


def tracking_errors(records: Sequence[Record]) -> tuple[Floats, Floats]:
    """Stamps [K] and how far every joint was from where it was commanded, [K, N]; rad, or m for a gripper.

    Commanded is the trajectory that the arm follows from when a chunk is sent. From a refusal or a hold on
    until the next chunk it is not known, for the arm brakes on its own.
    """
    following: Trajectory | None = None
    newest: Observed | None = None
    stamps, errors = [], []
    for record in records:
        if isinstance(record, Observed):
            newest = record
            if following is not None and math.isfinite(record.stamp_s):
                stamps.append(record.stamp_s)
                errors.append(np.abs(record.observation.q - following.at(record.stamp_s)[0]))
        elif isinstance(record, Sent) and record.receipt.accepted and newest is not None:
            now_s = record.stamp_s + newest.observation.age_s
            before = following or Trajectory.rest(now_s, newest.observation.q)
            following = before.then(record.chunk, now_s)
        elif brakes(record):
            following = None
    joints = len(newest.observation.q) if newest else 0
    return np.array(stamps), np.array(errors).reshape(len(errors), joints)


def plan_kept(records: Sequence[Record]) -> list[float | None]:
    """How far what was done is from what was planned 0, 1, ... steps before: the mean of the largest
    difference in an action, whose range is [-1, 1]; None where nothing of it was done."""
    done = {(r.episode, r.step): r.action for r in records if isinstance(r, Executed)}
    differences: dict[int, list[float]] = {}
    episode = 0
    for record in records:
        if isinstance(record, Observed):
            episode = record.episode
        elif isinstance(record, Planned):
            for h, action in enumerate(record.sequence):
                differences.setdefault(h, [])
                actual = done.get((episode, record.step + record.lead_steps + h))
                if actual is not None:
                    differences[h].append(float(np.abs(actual - action).max()))
    return [float(np.mean(d)) if d else None for _, d in sorted(differences.items())]


def _date(records: Sequence[Record]) -> str | None:
    """By the wall clock, when the first record was made."""
    if not records:
        return None
    began = datetime.datetime.fromtimestamp(records[0].wall_s, datetime.UTC)
    return began.isoformat(timespec="seconds")


def _all(records: Sequence[Record], kind: type) -> list[Any]:
    return [record for record in records if isinstance(record, kind)]


def _refusals(judged: Sequence[Judged], sent: Sequence[Sent]) -> Iterator[tuple[str, str]]:
    """By what, and why, in words without numbers."""
    for record in judged:
        decision = record.decision
        for by, reason in itertools.zip_longest(decision.broken, decision.reasons, fillvalue=""):
            yield by, _NUMBER.sub("…", reason)
    for one in sent:
        if not one.receipt.accepted:
            yield "the arm", _NUMBER.sub("…", one.receipt.reason)


def _spread(values: Iterable[float]) -> dict[str, float] | None:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    median, late = np.quantile(finite, [0.5, 0.99])
    return {"median": float(median), "99%": float(late), "largest": max(finite)}


def _margins(judged: Sequence[Judged]) -> Mapping[str, list[float]]:
    """A column for each limit, NaN where it was not looked at."""
    names = dict.fromkeys(name for r in judged for name in r.decision.margins)
    return {name: [r.decision.margins.get(name, math.nan) for r in judged] for name in names}


def _worst(errors: Floats) -> Floats:
    """[K] over the joints that have a length in rad: all but the gripper, the last."""
    return errors[:, :-1].max(1) if errors.shape[1] > 1 else np.zeros(len(errors))
