"""The plan card: what the planner imagined beside what then happened, at the same times."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec
from matplotlib.ticker import MaxNLocator

from robowm import __version__
from robowm.errors import UserError
from robowm.evaluation import pictures, plots, report
from robowm.evaluation.hindsight import Comparison, Trace
from robowm.evaluation.open_loop import decoded_images
from robowm.evaluation.pictures import IMAGINED, OBSERVED, Frames, Image
from robowm.evaluation.report import Report, number
from robowm.models.protocol import Decodes, WorldModel

NO_PICTURES: Frames = np.zeros((0, 1, 1, 3), np.uint8)
QUANTITIES = {
    "position_cm": ("object position error, cm", 2.0),
    "rotation_deg": ("object rotation error, degrees", 10.0),
}  # name -> (title, tolerance of a success)


@dataclasses.dataclass
class CardConfig:
    """Attributes:
    moments: decision points shown.
    ahead: steps that the executed actions are replayed in the model for, from every step.
    camera: whose pictures are shown.
    film_size: side in pixels of the pictures that are for people.
    """

    moments: int = 4
    ahead: int = 12
    camera: str = "front"
    film_size: int = 256

    def __post_init__(self) -> None:
        if min(self.moments, self.ahead, self.film_size) < 1:
            raise UserError(
                f"card.moments is {self.moments}, card.ahead {self.ahead} and card.film_size "
                f"{self.film_size}: give at least 1 of each."
            )


def planned_images(trace: Trace, model: WorldModel, t: int, camera: str) -> Frames:
    """[H+1, ...] what was believed at ``t`` and what its plan imagined; empty without pictures."""
    if not isinstance(model, Decodes) or not trace.seen:
        return NO_PICTURES
    return decoded_images(model, [trace.beliefs[t], *trace.plans[t].states], f"image_{camera}")


def film(trace: Trace, model: WorldModel, config: CardConfig) -> Frames:
    """The episode beside its imagination: real | imagined | both, as frames [T+1, H, W, 3].

    The imagined picture follows one plan to its end before it is tied to what was seen again, so it
    shows a future that the model had not seen.
    """
    if not isinstance(model, Decodes) or not trace.seen:
        return np.stack(trace.film)
    horizon = len(trace.plans[0].states)
    frames: list[Image] = []
    imagined = NO_PICTURES
    for t, (real, seen) in enumerate(zip(trace.film, trace.seen, strict=True)):
        since = (t - 1) % horizon + 1 if t else 0
        if since <= 1:
            imagined = planned_images(trace, model, max(t - 1, 0), config.camera)
        picture = imagined[since]
        words = "believed" if since == 0 else f"imagined {since} step{'s' * (since > 1)} ahead"
        panels = [
            pictures.labelled(pictures.framed(real, OBSERVED), "real"),
            pictures.labelled(pictures.framed(_scaled(picture, len(real)), IMAGINED), words),
            pictures.labelled(
                pictures.framed(_scaled(overlay(seen, picture), len(real)), pictures.PAPER), "both"
            ),
        ]
        frames.append(pictures.beside(panels))
    return np.stack(frames)


def overlay(real: Image, imagined: Image) -> Image:
    """Grey where both agree; orange what is only imagined dark, blue what is only really dark."""
    dark = cv2.cvtColor(real, cv2.COLOR_RGB2GRAY), cv2.cvtColor(imagined, cv2.COLOR_RGB2GRAY)
    middle = ((dark[0].astype(np.uint16) + dark[1]) // 2).astype(np.uint8)
    return np.stack([dark[0], middle, dark[1]], -1)


# ---------------------------------------------------------------------- the card


@dataclasses.dataclass
class Card:
    """Everything that the card shows; PNG, page and JSON are three views of it.

    Attributes:
      facts: headline, what -> how much.
      rows: of each step, plain data: ``stamp_s``, ``value``, ``success``, ``trusted_steps``,
        ``planning_time_ms``, ``reasons`` (of a rejection).
      moments: the steps shown, with their pictures.
    """

    title: str
    subtitle: str
    facts: dict[str, str]
    rows: list[dict[str, Any]]
    control_dt_s: float
    comparison: Comparison
    moments: list[tuple[int, Frames, Frames]]  # step, imagined [H+1], happened [<= H+1]

    def png(self) -> bytes:
        """The card as one picture."""
        return _draw(self)

    def page(self, mp4: bytes, footer: str = "") -> Report:
        """The card as one page, with the film and every number."""
        page = Report(self.title, self.subtitle, footer or f"robowm {__version__}")
        page.section("", report.headline(self.facts))
        page.section(
            "The episode",
            report.video(mp4),
            note="Left: what happened. Middle: what one plan imagined, followed to its end before the "
            "next takes over. Right: both in one picture, grey where they agree.",
        )
        for t, imagined, happened in self.moments:
            page.section(self._when(t), *self._moment(t, imagined, happened))
        if self.comparison.planned:
            page.section(
                "Over the whole episode",
                report.plot(_mean_errors(self.comparison)),
                note="Mean over every step of the episode. Planned: the plan's own imagination against "
                "what happened, later changes of plan included. Replayed: the same belief under the "
                "actions that were executed, which leaves the model's error alone. Dotted: the "
                "tolerance of a success.",
            )
        page.section("The planner, step by step", report.plot(_timeline(self)))
        refused = [row for row in self.rows if row["reasons"]]
        if refused:
            page.section(
                "Rejected by the safety gate",
                report.table(
                    ["time, s", "why"],
                    [[number(row["stamp_s"], 1), "; ".join(row["reasons"])] for row in refused],
                ),
            )
        return page

    def _when(self, t: int) -> str:
        return f"{self.rows[t]['stamp_s']:.1f} s"

    def _moment(self, t: int, imagined: Frames, happened: Frames) -> list[str]:
        row, parts = self.rows[t], []
        parts.append(report.headline(_said(row)))
        if len(imagined):
            strips = [
                _strip(imagined, IMAGINED, len(imagined)),
                _strip(happened, OBSERVED, len(imagined)),
            ]
            caption = f"Now and the next {len(imagined) - 1} steps of {self.control_dt_s:.1f} s."
            parts.append(report.key({"imagined": IMAGINED, "happened": OBSERVED}))
            parts.append(report.image(pictures.above(strips, 6), caption))
        errors = self.comparison.at(t)
        body = [
            [f"{QUANTITIES[name][0]}, {part}", *(number(x, 1) for x in values)]
            for name in self.comparison.planned
            for part, values in ((p, errors[p][name]) for p in ("planned", "replayed"))
        ]
        if body:
            width = max(len(line) for line in body)
            head = ["steps ahead", *map(str, range(1, width))]
            parts.append(report.table(head, [line + ["–"] * (width - len(line)) for line in body]))
        return parts


def row(tick: Mapping[str, Any], horizon: int) -> dict[str, Any]:
    """A row of :class:`Card` from a turn of the dispatch loop, as plain data."""
    plan = tick["plan"]
    return {
        "stamp_s": tick["stamp_s"],
        "value": plan["value"],
        "success": plan["success"],
        "trusted_steps": plan["trusted_steps"],
        "horizon": horizon,
        "planning_time_ms": plan["planning_time_ms"],
        "reasons": tick["decision"]["reasons"],
    }


def _said(row: Mapping[str, Any]) -> dict[str, str]:
    """What the planner said of its plan, with the name of each number."""
    said = {"value of the plan": number(row["value"], 2)}
    if row["success"] is not None:
        said["predicted success"] = f"{100 * row['success']:.0f}%"
    said["trusted steps"] = f"{row['trusted_steps']} of {row['horizon']}"
    said["planning"] = f"{row['planning_time_ms']:.0f} ms"
    return said


def _strip(frames: Frames, colour: pictures.Colour, width: int) -> Image:
    """Enlarged, framed, left to right; short ones are filled up with empty places."""
    factor = max(1, 128 // frames.shape[1])
    tiles = [pictures.framed(pictures.enlarge(frame, factor), colour) for frame in frames]
    empty = np.full_like(tiles[0], pictures.PAPER)
    return pictures.beside(tiles + [empty] * (width - len(tiles)), 6)


def _scaled(image: Image, side: int) -> Image:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)


# ---------------------------------------------------------------------- drawing

_TINT = {"imagined": tuple(c / 255 for c in IMAGINED), "happened": tuple(c / 255 for c in OBSERVED)}
_PLANNED, _REPLAYED = plots.COLOURS[1], plots.COLOURS[0]


def _draw(card: Card) -> bytes:
    """The card as one tall picture: headline, a block a moment, and the episode at the foot."""
    blocks = len(card.moments)
    with_pictures = any(len(imagined) for _, imagined, _ in card.moments)
    block = 3.0 if with_pictures else 2.2
    sizes = [1.6, *[block] * blocks, 2.6]
    with matplotlib.rc_context({**plots._STYLE, "axes.titleweight": "bold"}):
        figure = Figure(figsize=(15.5, sum(sizes)), facecolor="white")
        grid = figure.add_gridspec(
            len(sizes),
            1,
            height_ratios=sizes,
            left=0.03,
            right=0.985,
            top=0.995,
            bottom=0.035,
            hspace=0.22,
        )
        _draw_head(figure.add_subplot(grid[0]), card)
        limits = _limits(card)
        for index, (t, imagined, happened) in enumerate(card.moments):
            _draw_moment(figure, grid[index + 1], card, t, imagined, happened, limits, index == 0)
        _draw_timeline(figure, grid[blocks + 1], card)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _draw_head(axes: Axes, card: Card) -> None:
    axes.set_axis_off()
    axes.text(0, 0.80, card.title, fontsize=21, fontweight="bold", va="center")
    axes.text(0, 0.56, card.subtitle, fontsize=11.5, color=plots.MUTED, va="center")
    for index, (name, value) in enumerate(card.facts.items()):
        x = index * 1.0 / max(len(card.facts), 5)
        axes.text(x, 0.24, value, fontsize=19, fontweight="bold", va="center")
        axes.text(x, 0.03, name, fontsize=10, color=plots.MUTED, va="center")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def _draw_moment(
    figure: Figure,
    place: SubplotSpec,
    card: Card,
    t: int,
    imagined: Frames,
    happened: Frames,
    limits: Mapping[str, float],
    is_first: bool,
) -> None:
    row = card.rows[t]
    quantities = list(card.comparison.planned)
    columns = GridSpecFromSubplotSpec(1, 3, place, width_ratios=[1.5, 10.6, 3.4], wspace=0.08)
    said = figure.add_subplot(columns[0])
    said.set_axis_off()
    said.set_xlim(0, 1)
    said.set_ylim(0, 1)
    said.text(0, 0.93, f"{row['stamp_s']:.1f} s", fontsize=17, fontweight="bold", va="center")
    for index, (name, value) in enumerate(_said(row).items()):
        y = 0.72 - 0.21 * index
        said.text(0, y, value, fontsize=12.5, fontweight="bold", va="center")
        said.text(0, y - 0.085, name, fontsize=8.5, color=plots.MUTED, va="center")
    if len(imagined):
        _draw_strips(figure, columns[1], card, t, imagined, happened)
    if not quantities:
        return
    right = GridSpecFromSubplotSpec(len(quantities), 1, columns[2], hspace=0.42)
    for index, name in enumerate(quantities):
        axes = figure.add_subplot(right[index])
        _draw_errors(
            axes, name, card.comparison.planned[name][t], card.comparison.replayed[name][t]
        )
        axes.set_ylim(0, limits[name])
        axes.set_title(QUANTITIES[name][0], fontsize=9)
        axes.tick_params(labelsize=8)
        if is_first and index == 0:
            axes.legend(fontsize=8, loc="upper left", ncols=2)


def _draw_strips(
    figure: Figure, place: SubplotSpec, card: Card, t: int, imagined: Frames, happened: Frames
) -> None:
    """Two rows of pictures; what the trust gate does not let through is faint."""
    trusted = card.rows[t]["trusted_steps"]
    errors = card.comparison.at(t)["planned"]
    cells = GridSpecFromSubplotSpec(2, len(imagined), place, wspace=0.06, hspace=0.05)
    for line, (name, frames) in enumerate({"imagined": imagined, "happened": happened}.items()):
        for h, frame in enumerate(frames):
            axes = figure.add_subplot(cells[line, h])
            axes.imshow(frame, interpolation="nearest", alpha=1.0 if h <= trusted else 0.4)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
            for spine in axes.spines.values():
                spine.set(visible=True, color=_TINT[name], linewidth=2.2)
            if h == 0:
                axes.set_ylabel(name, color=_TINT[name], fontweight="bold", fontsize=10)
            if line == 0:
                when = "now" if h == 0 else f"+{h * card.control_dt_s:.1f} s"
                axes.set_title(
                    when, loc="center", fontsize=9, color=plots.MUTED, fontweight="normal"
                )
            elif h and errors:
                words = [
                    f"{errors[k][h - 1]:.1f}{unit}"
                    for k, unit in (("position_cm", " cm"), ("rotation_deg", "°"))
                    if k in errors and h <= len(errors[k])
                ]
                axes.set_xlabel("  ".join(words), fontsize=9)


def _draw_errors(axes: Axes, name: str, planned: Any, replayed: Any) -> None:
    axes.plot(
        range(1, len(replayed) + 1), replayed, color=_REPLAYED, label="replayed", marker="o", ms=2.5
    )
    axes.plot(
        range(1, len(planned) + 1), planned, color=_PLANNED, label="planned", marker="o", ms=2.5
    )
    axes.axhline(QUANTITIES[name][1], color=plots.MUTED, linewidth=1, linestyle=(0, (1, 2)))
    axes.set_xlim(0.5, max(len(planned), len(replayed)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _limits(card: Card) -> dict[str, float]:
    """One scale for all moments, so that they can be compared; it always shows the tolerance."""
    limits = {}
    for name, (_, tolerance) in QUANTITIES.items():
        values = [
            part[name][t]
            for part in (card.comparison.planned, card.comparison.replayed)
            for t, *_ in card.moments
            if name in part
        ]
        worst = max((float(np.nanmax(v)) for v in values if np.isfinite(v).any()), default=0.0)
        limits[name] = 1.12 * max(tolerance, worst)
    return limits


def _mean_errors(comparison: Comparison) -> plots.Plot:
    plot = plots.Plot(columns=len(comparison.planned))
    mean = comparison.mean()
    for axes, name in zip(plot.axes, comparison.planned, strict=True):
        _draw_errors(axes, name, mean["planned"][name], mean["replayed"][name])
        axes.set_title(QUANTITIES[name][0])
        axes.set_xlabel("steps ahead")
        axes.set_ylim(bottom=0)
    plot.axes[0].legend(loc="upper left")
    return plot


def _timeline(card: Card) -> plots.Plot:
    plot = plots.Plot(columns=3)
    _fill_timeline(plot.axes, card)
    return plot


def _draw_timeline(figure: Figure, place: SubplotSpec, card: Card) -> None:
    cells = GridSpecFromSubplotSpec(2, 3, place, wspace=0.13, height_ratios=[0.06, 1])
    _fill_timeline([figure.add_subplot(cells[1, i]) for i in range(3)], card)


def _fill_timeline(axes: Sequence[Axes], card: Card) -> None:
    """Value; predicted success, or trusted steps where the model has none; planning time."""
    times = [row["stamp_s"] for row in card.rows]
    has_success = any(row["success"] is not None for row in card.rows)
    second = (
        ("predicted success", [row["success"] for row in card.rows], (0, 1.05))
        if has_success
        else ("trusted steps", [row["trusted_steps"] for row in card.rows], (0, None))
    )
    panels = [
        ("value of the plan", [row["value"] for row in card.rows], (None, None)),
        second,
        ("planning time, ms", [row["planning_time_ms"] for row in card.rows], (0, None)),
    ]
    for panel, (title, values, (low, high)) in zip(axes, panels, strict=True):
        for t, *_ in card.moments:
            panel.axvline(card.rows[t]["stamp_s"], color=plots.RULE, linewidth=5, zorder=0)
        panel.plot(times, values, color=plots.COLOURS[0], linewidth=1.8)
        for row in card.rows:
            if row["reasons"]:
                panel.axvline(row["stamp_s"], color=plots.COLOURS[4], linewidth=1)
        panel.set_title(title)
        panel.set_ylim(low, high)
        panel.set_xlim(times[0], max(times[-1], times[0] + card.control_dt_s))
        panel.set_xlabel("time, s")
