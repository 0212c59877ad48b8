"""The reports: what agents achieved, alone and compared, and how well a model imagines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from robowm import __version__
from robowm.evaluation import comparison, plots, report
from robowm.evaluation.metrics import FLAGS, Interval
from robowm.evaluation.pictures import IMAGINED, OBSERVED, Frames, Image, film_strip, until_still
from robowm.evaluation.report import Report, number
from robowm.tracking.video import encode_mp4


def evaluation_page(
    data: Mapping[str, Any],
    films: Sequence[tuple[str, Frames]] = (),
    fps: float = 10,
    curve: Sequence[Mapping[str, Any]] = (),
) -> Report:
    """``data`` is that of report.json; ``films`` are (caption, frames) in the order to show them,
    ``curve`` the points of curve.json.
    """
    rows = data.get("rows") or [data]
    first = rows[0]
    page = Report(
        title=f"{data['task']}: {first['agent']}",
        subtitle=f"{first['episodes']} starts of the {data['split']} split, seeds {data['seed']} to "
        f"{data['seed'] + first['episodes'] - 1}",
        footer=f"robowm {__version__} · checkpoint {data['checkpoint'] or 'none'}",
    )
    page.section("", _headline(first))
    page.section(
        "Results",
        results_table(rows),
        note="Success counts at the end of the episode, held; latched success counts at any step. "
        "Brackets hold Wilson 95% intervals. Errors are means (medians small), at the end. The scripted "
        "expert is a ceiling; random, nothing and replay, which repeats a demonstration from another "
        "start, are floors.",
    )
    page.section("Success", report.plot(plots.success_rates(rows)))
    if curve:
        drawn = plots.learning_curves({first["agent"]: [curve]})
        page.section("Success against what it cost", report.plot(drawn))
    if len(rows) > 1:
        page.section("The same starts", _pairs(first["agent"], data["paired"]))
    if any(row["causes"] for row in rows):
        page.section("Why episodes failed", _causes(rows))
    if films:
        page.section(
            "Episodes",
            *(
                report.image(film_strip(until_still(frames), 8), caption)
                for caption, frames in films
            ),
        )
        videos = [report.video(encode_mp4(frames, fps), caption) for caption, frames in films]
        page.section("Videos", report.grid(videos))
    for row in rows:
        page.section(
            f"Every episode: {row['agent']}", _episodes(row["episode_results"]), folded=True
        )
    return page


def comparison_page(data: Mapping[str, Any]) -> Report:
    """``data`` is that of compare.json."""
    rows = data["rows"]
    page = Report(
        title=f"{data['task']}: {len(rows)} agents",
        subtitle=f"starts of the {data['split']} split",
        footer=f"robowm {__version__} · {', '.join(data['reports'])}",
    )
    columns, *lines = comparison.table(rows)
    page.section("Results", report.table(columns, lines), note=comparison.NOTE)
    page.section("Success", report.plot(plots.success_rates(rows)))
    if data["curves"]:
        page.section(
            "Success against what it cost",
            report.plot(plots.learning_curves(data["curves"])),
            note="A line for each training seed; a mark where only the end was evaluated. A line of "
            "marks joins trainings: over steps those of as many updates, over minutes those on as much "
            "data.",
        )
    if data["points"]:
        columns, *lines = comparison.points_table(data["points"])
        page.section("With less data, and for a shorter time", report.table(columns, lines))
    return page


def imagination_page(
    data: Mapping[str, Any],
    videos: Sequence[tuple[str, bytes]] = (),
    strips: Sequence[tuple[str, Image]] = (),
) -> Report:
    """``data`` is that of open_loop.json; each video may have a strip of the same moments below it.

    Args:
      videos: (caption, MP4).
      strips: (caption, image), as many or none.
    """
    pose, ranking = data.get("pose"), data.get("ranking")
    page = Report(
        title=f"{data['task']}: what the model imagines",
        subtitle=f"{data['episodes']} held-out episodes; at least {data['context']} steps observed, "
        "then none",
        footer=f"robowm {__version__} · checkpoint {data['checkpoint']}",
    )
    if pose:
        page.section(
            "Pose error by imagined steps",
            _horizons(pose),
            note=f"Means over {pose['starts']} starts; only the earlier ones reach the longer horizons. "
            "Large: imagined, without an observation after the start. Small: from the floor, the belief "
            "that has seen every step, to the ceiling, the last seen pose kept.",
        )
        page.section(
            "All starts", report.plot(plots.error_by_horizon(pose["horizon"], panels(pose)))
        )
        if any(pose["moved"]["pairs"]):
            page.section(
                "Where the object moved",
                report.plot(plots.error_by_horizon(pose["horizon"], panels(pose["moved"]))),
                note=f"Only starts whose object is more than {100 * pose['moved_m']:.0f} cm away from "
                "where it began at that step.",
            )
    if ranking and ranking["mean"] is not None:
        mean = Interval(*(ranking[k] for k in ("mean", "low", "high")))
        page.section(
            "Ranking of action sequences",
            report.headline(
                {f"mean rank correlation, {mean.low:.2f} to {mean.high:.2f}": f"{mean.value:.2f}"}
            ),
            report.plot(plots.ranking(ranking["correlations"], mean)),
            note=f"Predicted against true return of {ranking['candidates']} sequences of "
            f"{ranking['horizon']} actions from each of {len(ranking['correlations'])} restored states.",
        )
    if videos:
        parts = [report.key({"observed": OBSERVED, "imagined": IMAGINED})]
        for (caption, mp4), strip in zip_longest(videos, strips[: len(videos)]):
            parts.append(report.video(mp4, "" if strip else caption))
            if strip:
                parts.append(report.image(strip[1], strip[0]))
        page.section("Truth, imagined, difference", *parts)
    return page


def panels(pose: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """The curves of ``pose_errors`` under the titles that a plot of them shows."""
    titles = {"position_cm": "position error, cm", "rotation_deg": "rotation error, degrees"}
    return {
        title: {
            curve: [float("nan") if v is None else v for v in values["mean"]]
            for curve, values in pose[quantity].items()
        }
        for quantity, title in titles.items()
        if quantity in pose
    }


def _headline(row: Mapping[str, Any]) -> str:
    low, high = 100 * row["success_low"], 100 * row["success_high"]
    numbers = {
        f"success of {row['agent']}, {low:.0f} to {high:.0f}%": f"{100 * row['success']:.0f}%"
    }
    if row["lifted"] is not None:
        numbers["lifted"] = _percent(row["lifted"])
    if row["position_error_cm_median"] is not None:
        numbers["position error, median"] = number(row["position_error_cm_median"], 1, " cm")
    if row["rotation_error_deg_median"] is not None:
        numbers["rotation error, median"] = number(row["rotation_error_deg_median"], 1, "°")
    numbers["time per action"] = _ms(row["ms_per_action"])
    return report.headline(numbers)


def results_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A row for each agent of a report."""
    flags = [flag for flag in FLAGS if any(row.get(flag) is not None for row in rows)]
    rotation = any(row["rotation_error_deg"] is not None for row in rows)
    columns = ["agent", "success", "latched", "position, cm"]
    columns += ["rotation, °"] * rotation + flags + ["return", "ms an action"]
    body = []
    for row in rows:
        interval = f"[{100 * row['success_low']:.0f}, {100 * row['success_high']:.0f}]"
        line: list[Any] = [
            row["agent"],
            (_percent(row["success"]), interval),
            _percent(row["latched_success"]),
            _with_median(row, "position_error_cm"),
        ]
        line += [_with_median(row, "rotation_error_deg")] * rotation
        line += [_percent(row.get(flag)) for flag in flags]
        line += [number(row["return"], 1), _ms(row["ms_per_action"]).removesuffix(" ms")]
        body.append(line)
    return report.table(columns, body, lead=True)


def _pairs(first: str, pairs: Mapping[str, Mapping[str, int]]) -> str:
    columns = ["against", f"only {first} succeeded", "only the other", "both", "neither"]
    keys = ("only_first", "only_other", "both", "neither")
    return report.table(columns, [[name, *(pair[k] for k in keys)] for name, pair in pairs.items()])


def _causes(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each cause of failure, a column for each agent."""
    found = list(dict.fromkeys(cause for row in rows for cause in row["causes"]))
    body = [[cause, *(row["causes"].get(cause, 0) for row in rows)] for cause in found]
    return report.table(["failures", *(row["agent"] for row in rows)], body)


def _episodes(results: Sequence[Mapping[str, Any]]) -> str:
    flags = [flag for flag in FLAGS if results[0].get(flag) is not None]
    columns = [
        "seed",
        "success",
        "latched",
        "position, cm",
        "rotation, °",
        *flags,
        "failed",
        "steps",
        "return",
    ]

    def scaled(value: float | None, factor: float) -> float | None:
        return None if value is None else factor * value

    return report.table(
        columns,
        [
            [
                row["seed"],
                row["success"],
                row["latched_success"],
                number(scaled(row["position_error_m"], 100), 1),
                number(scaled(row["rotation_error_rad"], 57.29578), 1),
                *("yes" if row[flag] else "no" for flag in flags),
                row["cause"] or "",
                row["steps"],
                number(row["return"], 2),
            ]
            for row in results
        ],
    )


def _horizons(pose: Mapping[str, Any]) -> str:
    wanted = [h for h in (1, 5, 10, 20, 30, 50) if h <= len(pose["horizon"])]
    names = {"position_cm": "position, cm", "rotation_deg": "rotation, °"}
    body = []
    for quantity, name in names.items():
        for title, part in (("", pose), (", moved", pose["moved"])):
            if quantity not in part:
                continue
            curves = part[quantity]
            body.append(
                [name + title]
                + [
                    (
                        number(curves["imagined"]["mean"][h - 1], 1),
                        f"{number(curves['posterior']['mean'][h - 1], 1)} to "
                        f"{number(curves['copy_last']['mean'][h - 1], 1)}",
                    )
                    for h in wanted
                ]
            )
    return report.table(["mean error", *(f"{h} step{'s' * (h > 1)}" for h in wanted)], body)


def _percent(share: float | None) -> str:
    return "–" if share is None else plots.percent(share)


def _with_median(row: Mapping[str, Any], name: str) -> tuple[str, str]:
    return number(row[name], 1), number(row[f"{name}_median"], 1)


def _ms(value: float | None) -> str:
    """Fast agents deserve their digits."""
    return number(value, 1 if value is None or value >= 1 else 3, " ms")
