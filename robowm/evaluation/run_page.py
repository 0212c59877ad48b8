"""The page of a run that was recorded: what was planned, allowed, done, and how it went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from robowm import __version__
from robowm.evaluation import plots, report
from robowm.evaluation.pictures import (
    IMAGINED,
    OBSERVED,
    PAPER,
    Frames,
    Image,
    above,
    beside,
    enlarge,
    framed,
)
from robowm.evaluation.plots import Plot, styled
from robowm.evaluation.report import Report, number

REFUSED = (201, 73, 79)
_FILM_SIDE, _STRIP_SIDE = 320, 128  # of a picture, in pixels, at least where that is a multiple
_LOG_ROWS = 300  # a run of hours is not read line by line


def run_page(
    data: Mapping[str, Any],
    film: bytes | None = None,
    imagined: Sequence[tuple[str, Image]] = (),
    foretold: bytes | None = None,
) -> Report:
    """``data`` is that of replay.json.

    Args:
      film: MP4 of what was seen.
      imagined: (caption, strips) of plans whose imagination was recorded, beside what happened.
      foretold: MP4 of what a model makes of the actions that were done.
    """
    page = Report(
        title=f"{data['task']}: a recorded run",
        subtitle=" · ".join(_subtitle(data)),
        footer=f"robowm {__version__} · {data['bag']} · checkpoint {data['checkpoint'] or 'unknown'}",
    )
    page.section("", report.headline(headline(data)))
    if data["results"]:
        page.section("Result", _results(data["results"]))
    if film is not None:
        page.section(
            "What was seen",
            report.key({"followed": OBSERVED, "refused by the gate": REFUSED}),
            report.video(film),
        )
    if imagined:
        page.section(
            "Plans against what happened",
            report.key({"imagined": IMAGINED, "happened": OBSERVED}),
            *(report.image(strip, caption) for caption, strip in imagined),
        )
    if foretold is not None:
        page.section(
            "Truth, imagined, difference",
            report.key({"observed": OBSERVED, "imagined": IMAGINED}),
            report.video(foretold),
            note="What the model imagines from the actions that were done, of the longest episode.",
        )
    plans, decisions = data["series"]["plans"], data["series"]["decisions"]
    if plans["time_s"]:
        page.section(
            "Plans",
            report.plot(_plans(plans, data["duration_s"])),
            _kept(data["plan_kept"]),
            note="The table tells how far what was done is from what had been planned so many steps before: "
            "the largest difference in an action's range of -1 to 1, in the mean. Later plans may know better.",
        )
    if decisions["time_s"]:
        refusals = [[r["reason"], r["by"], r["times"]] for r in data["refusals"]]
        page.section(
            "The safety gate",
            report.plot(_margins(decisions, data["duration_s"])),
            report.table(["refused because", "by", "times"], refusals) if refusals else "",
            note="What is left to each limit, as a share of it: 1 far from it, 0 at it, below 0 past it. "
            "Red lines are refusals.",
        )
    if data["tracking"]:
        page.section(
            "Commanded against measured",
            report.plot(_tracking(data["series"]["tracking"], data["duration_s"])),
            _joints(data["tracking"]),
            note="Commanded is the curve through what was sent. A gripper's drive goes to its target at its "
            "own speed, and stops at what it holds.",
        )
    if rows := _latencies(data["latency_ms"]):
        page.section("Latency", report.table(["ms", "median", "99%", "largest"], rows))
    if data["log"]:
        page.section("What happened when", _log(data["log"]), folded=len(data["log"]) > 12)
    return page


def headline(data: Mapping[str, Any]) -> dict[str, str]:
    """The few numbers that matter, what -> how much."""
    known = [success for success in data["success"] if success is not None]
    facts = {}
    if len(known) == 1:
        facts["the task"] = "succeeded" if known[0] else "failed"
    elif known:
        facts["episodes that succeeded"] = f"{sum(known)} of {len(known)}"
    facts["refused by the gate"] = f"{data['refused']} of {data['judged']}"
    facts["followed by the arm"] = f"{data['followed']} of {data['sent']}"
    facts["deadlines missed"] = str(data["events"].get("missed", 0))
    if latency := data["latency_ms"]["from observation to plan"]:
        facts["observation to plan (99%)"] = f"{latency['median']:.0f} ms ({latency['99%']:.0f})"
    if worst := [t for t in data["series"]["tracking"]["worst"] if t is not None]:
        facts["largest tracking error"] = number(math.degrees(max(worst)), 1, "°")
    return facts


def film_frames(pictures: Sequence[Sequence[Image]], refused: Sequence[bool]) -> Frames:
    """[T, H, W, 3]: the cameras side by side at each of T moments, framed by what the gate said."""
    frames = []
    for row, no in zip(pictures, refused, strict=True):
        shown = [enlarge(picture, max(1, _FILM_SIDE // len(picture))) for picture in row]
        height = max(map(len, shown))
        shown = [_filled(picture, height) for picture in shown]
        frames.append(
            beside([framed(picture, REFUSED if no else OBSERVED, 4) for picture in shown])
        )
    return np.stack(frames)


def strips(imagined: Frames, happened: Frames) -> Image:
    """What a plan imagined above what then happened, at the same times."""
    factor = max(1, _STRIP_SIDE // imagined.shape[1])
    lines = []
    for frames, colour in ((imagined, IMAGINED), (happened, OBSERVED)):
        tiles = [framed(enlarge(frame, factor), colour) for frame in frames[: len(imagined)]]
        empty = np.full_like(framed(enlarge(imagined[0], factor), colour), PAPER)
        lines.append(beside(tiles + [empty] * (len(imagined) - len(tiles)), 6))
    return above(lines, 6)


def _filled(picture: Image, height: int) -> Image:
    missing = height - len(picture)
    return np.pad(picture, ((missing // 2, missing - missing // 2), (0, 0), (0, 0)))


def _subtitle(data: Mapping[str, Any]) -> Iterator[str]:
    """When and how long, and what is to be known of a recording that is not whole."""
    if data["began"]:
        yield data["began"].replace("T", " ").replace("+00:00", " UTC")
    yield f"{data['duration_s']:.1f} s, {data['steps']} steps"
    if not data["closed"]:
        yield "the recorder was killed: the last second may be missing"
    dropped = {k.removeprefix("dropped_"): n for k, n in data["dropped"].items() if n}
    if dropped:
        yield "left out: " + ", ".join(f"{n} {what}" for what, n in dropped.items())


def _results(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each episode, a column for all that the task said of any."""
    names = list(dict.fromkeys(name for result in results.values() for name in result))
    rows = [
        [episode, *(_shown(result.get(name)) for name in names)]
        for episode, result in results.items()
    ]
    return report.table(["episode", *(name.replace("_", " ") for name in names)], rows)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _kept(kept: Sequence[float | None]) -> str:
    known = [value for value in kept if value is not None]
    columns = ["planned steps before", *map(str, range(len(known)))]
    return report.table(columns, [["difference", *(number(value, 3) for value in known)]])


def _joints(tracking: Mapping[str, Mapping[str, float]]) -> str:
    """Angles in degrees; the gripper's opening, the last, in millimetres."""
    rows = []
    last = list(tracking)[-1]
    for joint, errors in tracking.items():
        factor, unit = (1e3, " mm") if joint == last else (math.degrees(1), "°")
        shown = (number(factor * errors[k], 2, unit) for k in ("mean", "largest"))
        rows.append([joint, *shown])
    return report.table(["joint", "mean", "largest"], rows)


def _latencies(latency: Mapping[str, Mapping[str, float] | None]) -> list[list[str]]:
    return [
        [name, *(number(spread[k], 1) for k in ("median", "99%", "largest"))]
        for name, spread in latency.items()
        if spread is not None
    ]


def _log(events: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [number(event["time_s"], 2), event["kind"], event["plan_id"], event["message"]]
        for event in events[:_LOG_ROWS]
    ]
    if more := len(events) - len(rows):
        rows.append(["…", f"{more} more", "", "in replay.json"])
    return report.table(["time, s", "what", "plan", ""], rows)


# ---------------------------------------------------------------------- drawing


@styled
def _plans(plans: Mapping[str, Sequence[Any]], end_s: float) -> Plot:
    """Predicted success, or value where the model foretells none; trusted steps; latency."""
    foretold = any(value is not None for value in plans["success"])
    first = ("predicted success", "success") if foretold else ("value of the plan", "value")
    panels = dict([first, ("trusted steps", "trusted_steps"), ("latency, ms", "latency_ms")])
    plot = Plot(columns=3, height=2.8)
    for axes, (title, name) in zip(plot.axes, panels.items(), strict=True):
        axes.plot(plans["time_s"], _floats(plans[name]), color=plots.COLOURS[0], linewidth=1.8)
        axes.set_title(title)
        _time_axis(axes, end_s)
        if name != "value":
            axes.set_ylim(bottom=0, top=1.05 if name == "success" else None)
    return plot


@styled
def _margins(decisions: Mapping[str, Any], end_s: float) -> Plot:
    plot = Plot(height=3.4)
    axes = plot.axes[0]
    for place, (name, values) in enumerate(decisions["margins"].items()):
        style = plots.LINES[place // len(plots.COLOURS) % len(plots.LINES)]
        colour = plots.COLOURS[place % len(plots.COLOURS)]
        axes.plot(
            decisions["time_s"],
            _floats(values),
            label=name,
            color=colour,
            linestyle=style,
            linewidth=1.6,
        )
    for time_s, accepted in zip(decisions["time_s"], decisions["accepted"], strict=True):
        if not accepted:
            axes.axvline(time_s, color=plots.COLOURS[4], linewidth=1)
    axes.axhline(0, color=plots.INK, linewidth=1)
    axes.set_ylim(-0.5, 1.05)  # how far past a limit is of no matter
    axes.set_ylabel("margin")
    _time_axis(axes, end_s)
    lines, labels = axes.get_legend_handles_labels()
    if lines:
        plot.figure.legend(lines, labels, loc="outside upper left", ncols=7)
    return plot


@styled
def _tracking(series: Mapping[str, Sequence[Any]], end_s: float) -> Plot:
    plot = Plot(height=2.6)
    axes = plot.axes[0]
    worst = [math.degrees(value) for value in _floats(series["worst"])]
    axes.plot(series["time_s"], worst, color=plots.COLOURS[0], linewidth=1.8)
    axes.set_ylabel("worst joint, degrees")
    axes.set_ylim(bottom=0)
    _time_axis(axes, end_s)
    return plot


def _time_axis(axes: Any, end_s: float) -> None:
    axes.set_xlim(0, max(end_s, 1e-3))
    axes.set_xlabel("time, s")


def _floats(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
