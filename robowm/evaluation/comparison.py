"""Reports of many runs as one table: a row for each agent, its training seeds pooled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robowm.errors import UserError
from robowm.evaluation.metrics import wilson
from robowm.evaluation.report import number

Row = dict[str, Any]

NEEDED = ("task", "agent", "split", "seed", "success", "ms_per_action", "episode_results")
# As a table has them: planners, what was learned otherwise, ceiling, floors.
ORDER = ("planner", "actor", "cloning", "sac", "ppo", "expert", "replay", "random", "nothing")
PROPOSING = ("policy_samples", "policy_prior", "trust_margin")  # moot without a policy
NOTE = (
    "Success counts at the end of the episode, held; brackets hold Wilson 95% intervals over the "
    "episodes of all training seeds, which are taken as independent; each seed's own figure stands "
    "beside. Errors are means at the end. Environment steps and minutes are a training's, means over "
    "seeds; demonstrations count as steps, collecting them not as minutes."
)


def read(named: Iterable[str]) -> list[Row]:
    """The rows of reports, each ``path`` or ``label:path``: a report.json, or a folder of some.

    A row gets its ``source``, its ``label`` where one is given, and the ``curve`` beside it.

    Raises:
      UserError: where there is no report, or what is there is none.
    """
    rows = []
    for name in named:
        label, path = _split(name)
        files = sorted(path.rglob("report.json")) if path.is_dir() else [path]
        if not files:
            raise UserError(f"there is no report.json in {path}: give the `out` of an evaluation.")
        for file in files:
            found = _rows_of(file)
            for row in found:
                row["source"] = str(file)
                if label:
                    row["label"] = label if len(found) == 1 else f"{label}: {row['agent']}"
            rows += found
    return rows


def compare(rows: Sequence[Row], points: Sequence[Row] = ()) -> dict[str, Any]:
    """What compare.json holds: ``task``, ``split``, ``reports``, a row for each agent, and ``curves``.

    The same evaluation met twice counts once.

    Args:
      rows: evaluations that stand beside each other.
      points: evaluations of agents trained with less data or for a shorter time, for ``curves``.

    Raises:
      UserError: where tasks or splits differ, or one agent's training seed stands for two results.
    """
    for key in ("task", "split"):
        if len(found := sorted({row[key] for row in (*rows, *points)})) > 1:
            raise UserError(
                f"the reports are of different {key}s, {' and '.join(found)}: compare one at a time."
            )
    groups: dict[str, list[Row]] = {}
    for row, label in zip(rows, labels(rows), strict=True):
        groups.setdefault(label, []).append(row)
    pooled = [pool(label, _distinct(label, group)) for label, group in groups.items()]
    pooled.sort(key=lambda row: _place(row["kind"]))
    return {
        "task": rows[0]["task"],
        "split": rows[0]["split"],
        "reports": sorted({row["source"] for row in (*rows, *points)}),
        "rows": pooled,
        "curves": curves(pooled) | ladders(points),
        "points": rungs(points),
    }


def labels(rows: Sequence[Row]) -> list[str]:
    """The given label, or the agent; of planners the kind and what differs among those of a kind."""
    settings: dict[str, list[Row]] = {}
    for row in rows:
        if "label" not in row and "planner" in row:
            settings.setdefault(row["planner"]["kind"], []).append(_effective(row["planner"]))
    found: list[str] = []
    for row in rows:
        if "label" in row or "planner" not in row:
            found.append(str(row.get("label", row["agent"])))
            continue
        mine, kind = _effective(row["planner"]), row["planner"]["kind"]
        words = [kind]
        if mine.get("proposals") == "none":
            words[0] += " without proposals"
        for key, value in mine.items():
            known = [other[key] for other in settings[kind] if key in other]
            if key == "proposals":  # without any is said above
                known = [value if other == "none" or value == "none" else other for other in known]
            if any(other != value for other in known):
                words.append(f"{key}={value}")
        found.append(", ".join(words))
    return found


def pool(label: str, rows: Sequence[Row]) -> Row:
    """One agent's evaluations as one row; ``seeds`` has each one's own figures and curve."""
    episodes = [episode for row in rows for episode in row["episode_results"]]
    success = wilson(sum(e["success"] for e in episodes), len(episodes))
    rotation_rad = _mean(e["rotation_error_rad"] for e in episodes)
    position_m = _mean(e["position_error_m"] for e in episodes)
    return {
        "agent": label,
        "kind": rows[0]["agent"],
        "observation": rows[0].get("observation"),
        "episodes": len(episodes),
        "success": success.value,
        "success_low": success.low,
        "success_high": success.high,
        "position_error_cm": None if position_m is None else 100 * position_m,
        "rotation_error_deg": None if rotation_rad is None else 57.29578 * rotation_rad,
        "ms_per_action": _mean(row["ms_per_action"] for row in rows),
        "env_steps": _mean(row.get("env_steps") for row in rows),
        "minutes": _mean(row.get("minutes") for row in rows),
        "seeds": [
            {
                "source": row["source"],
                "train_seed": row.get("train_seed"),
                "success": row["success"],
                "curve": row.get("curve") or _end(row),
            }
            for row in rows
        ],
    }


def curves(rows: Sequence[Row]) -> dict[str, list[list[Row]]]:
    """Agent -> the curves of its seeds, for those agents that were trained."""
    found = {row["agent"]: [seed["curve"] for seed in row["seeds"]] for row in rows}
    return {name: [c for c in seeds if c] for name, seeds in found.items() if any(seeds)}


def rungs(points: Sequence[Row]) -> list[Row]:
    """One agent trained with as much data for as many updates is one row, its seeds pooled."""
    groups: dict[tuple[str, int, int], list[Row]] = {}
    for row, label in zip(points, labels(points), strict=True):
        if row.get("env_steps") is None or row.get("updates") is None:
            raise UserError(f"{row['source']} tells no training: curves are of learned agents.")
        groups.setdefault((label, row["env_steps"], row["updates"]), []).append(row)
    return [
        pool(label, _distinct(label, group)) | {"updates": updates}
        for (label, _, updates), group in sorted(groups.items(), key=lambda item: item[0])
    ]


def ladders(points: Sequence[Row]) -> dict[str, list[list[Row]]]:
    """Label -> a curve over data, of what was trained equally long, and one over time, with the same data.

    Of several times, or amounts, it is the one with the most points, and of those the largest.
    """
    found: dict[str, list[Row]] = {}
    for row in rungs(points):
        found.setdefault(row["agent"], []).append(row)
    drawn = {}
    for label, rows in found.items():
        updates, env_steps = (
            _commonest(row[key] for row in rows) for key in ("updates", "env_steps")
        )
        over_data = [row | {"minutes": None} for row in rows if row["updates"] == updates]
        over_time = [row | {"env_steps": None} for row in rows if row["env_steps"] == env_steps]
        drawn[label] = [
            [{key: row[key] for key in ("env_steps", "minutes", "success")} for row in curve]
            for curve in (over_data, over_time)
        ]
    return drawn


def _commonest(values: Iterable[float]) -> float:
    """The largest of those that are there most often."""
    return max(Counter(values).items(), key=lambda item: (item[1], item[0]))[0]


def table(rows: Sequence[Row]) -> list[list[str]]:
    """The header and a line for each row, as people read it."""
    lines = [
        ["agent", "sees", "episodes", "success", "each seed", "position, cm", "rotation, °"]
        + ["ms an action", "steps", "minutes"]
    ]
    for row in rows:
        several = len(row["seeds"]) > 1
        low, high = 100 * row["success_low"], 100 * row["success_high"]
        steps = row["env_steps"]
        lines.append(
            [
                row["agent"],
                row["observation"] or "–",
                str(row["episodes"]),
                f"{100 * row['success']:.1f}% [{low:.0f}, {high:.0f}]",
                ", ".join(f"{100 * s['success']:.0f}%" for s in row["seeds"]) if several else "–",
                number(row["position_error_cm"], 1),
                number(row["rotation_error_deg"], 1),
                number(row["ms_per_action"], 1),
                "–" if steps is None else f"{steps:,.0f}",
                number(row["minutes"], 1),
            ]
        )
    return lines


def markdown(data: Mapping[str, Any]) -> str:
    parts = [f"### {data['task']}, {data['split']} starts", _lines(table(data["rows"])), NOTE]
    if data["points"]:
        parts[2:2] = [
            "With less data, and for a shorter time:",
            _lines(points_table(data["points"])),
        ]
    return "\n\n".join(parts) + "\n"


def points_table(points: Sequence[Row]) -> list[list[str]]:
    """The header and a line for each of ``rungs``."""
    lines = [["agent", "steps", "updates", "minutes", "episodes", "success"]]
    for row in points:
        low, high = 100 * row["success_low"], 100 * row["success_high"]
        lines.append(
            [
                row["agent"],
                f"{row['env_steps']:,.0f}",
                f"{row['updates']:,}",
                number(row["minutes"], 1),
                str(row["episodes"]),
                f"{100 * row['success']:.1f}% [{low:.0f}, {high:.0f}]",
            ]
        )
    return lines


def _lines(table: Sequence[Sequence[str]]) -> str:
    header, *lines = table
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *lines])


def _split(name: str) -> tuple[str | None, Path]:
    label, colon, path = name.partition(":")
    if colon and not Path(name).exists():
        return label, Path(path)
    return None, Path(name)


def _rows_of(file: Path) -> list[Row]:
    data = _json(file)
    rows = data.get("rows") or [data]
    for row in rows:
        if missing := [key for key in NEEDED if not isinstance(row, dict) or key not in row]:
            raise UserError(
                f"{file} is no report of evaluate.py or baseline.py: it has no {missing[0]!r}."
            )
    beside = file.with_name("curve.json")
    if len(rows) == 1 and beside.is_file():
        rows[0]["curve"] = _json(beside).get("curve")
    return rows


def _json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text())
    except OSError as error:
        raise UserError(f"there is no report at {file}: give a report.json or a folder.") from error
    except ValueError as error:
        raise UserError(f"{file} is not JSON: give a report.json or a folder with one.") from error
    if not isinstance(data, dict):
        raise UserError(f"{file} is no report of evaluate.py or baseline.py: it is a list.")
    return data


def _distinct(label: str, rows: Sequence[Row]) -> list[Row]:
    """Each evaluation once; what shares training seed and starts must be the same evaluation."""

    def outcome(row: Row) -> tuple[Any, ...]:
        return row.get("checkpoint"), [episode["success"] for episode in row["episode_results"]]

    found: dict[tuple[Any, Any], Row] = {}
    for row in rows:
        trained = row.get("train_seed")  # floors have none
        key = (row.get("checkpoint") if trained is None else trained, row["seed"])
        other = found.setdefault(key, row)
        if outcome(other) != outcome(row):
            raise UserError(
                f"{other['source']} and {row['source']} hold two results of {label!r} for the same "
                "training seed and starts: tell them apart by label:path, or leave one out."
            )
    return list(found.values())


def _effective(planner: Mapping[str, Any]) -> Row:
    alone = planner.get("proposals") == "none"
    settings = {"proposals": None, **planner}
    if settings["proposals"] is None:
        settings["proposals"] = "cloning"
    return {k: v for k, v in settings.items() if not (alone and k in PROPOSING)}


def _end(row: Row) -> list[Row]:
    if row.get("env_steps") is None and row.get("minutes") is None:
        return []
    return [{key: row.get(key) for key in ("env_steps", "minutes", "success")}]


def _place(agent: str) -> int:
    return ORDER.index(agent) if agent in ORDER else len(ORDER)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
