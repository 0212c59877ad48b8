"""Plots of evaluations, each as PNG for a file and as SVG that follows the page's theme."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter
from numpy.typing import ArrayLike

from robowm.evaluation.metrics import Interval

# Each stands for one custom property of the report's style sheet, and is the light theme's colour.
THEME = {"#1b1f25": "ink", "#5c6672": "muted", "#dde1e6": "rule"}
INK, MUTED, RULE = THEME
# Readable on white and on near-black alike.
COLOURS = ("#2f7fd6", "#d9772b", "#2f9e6e", "#b05fc9", "#c9484f", "#8c8f3a")
LINES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1)))
FLOOR, CEILING = "#2f9e6e", "#98a1ab"

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "robowm",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.linewidth": 1.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
}

# Decorates a function that draws: matplotlib reads the style when a title or a legend is made.
styled = matplotlib.rc_context(_STYLE)


class Plot:
    """A matplotlib figure; draw on it inside a function that is :data:`styled`."""

    @styled
    def __init__(self, columns: int = 1, height: float = 3.2, width: float = 9.6):
        # Figure rather than pyplot: no global state, nothing to close.
        self.figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(wspace=0.05))
        self.axes = list(self.figure.subplots(1, columns, squeeze=False)[0])

    @styled
    def png(self, dpi: int = 150) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
        return buffer.getvalue()

    @styled
    def svg(self) -> str:
        """An ``<svg>`` element whose text and lines take the colours of the page around it."""
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        for colour, name in THEME.items():
            text = text.replace(colour, f"var(--{name})")
        return text


def percent(share: float) -> str:
    """A share for people, with a decimal only where it has one: 37 of 40 are 92.5%."""
    return f"{100 * share:.1f}".removesuffix(".0") + "%"


@styled
def success_rates(rows: Sequence[Mapping[str, Any]]) -> Plot:
    """Success of each agent with its interval; ``rows`` as in report.json."""
    plot = Plot(height=0.9 + 0.42 * len(rows))
    axes = plot.axes[0]
    for place, row in enumerate(rows):
        low, value, high = (100 * row[key] for key in ("success_low", "success", "success_high"))
        colour = COLOURS[0] if place == 0 else CEILING
        axes.barh(place, value, height=0.56, color=colour)
        axes.plot([low, high], [place, place], color=INK, linewidth=1.4)
        for end in (low, high):
            axes.plot([end, end], [place - 0.11, place + 0.11], color=INK, linewidth=1.4)
        axes.text(high + 1.5, place, percent(row["success"]), va="center", color=INK)
    axes.set_yticks(range(len(rows)), [row["agent"] for row in rows])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=10.5)
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20), [f"{tick}%" for tick in range(0, 101, 20)])
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.invert_yaxis()
    return plot


@styled
def learning_curves(curves: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> Plot:
    """Success against what it cost: agent -> one curve for each training seed.

    A curve is points with ``env_steps``, ``minutes`` and ``success``; a few points are marked.
    """
    plot = Plot(columns=2, height=3.5)
    panels = {"env_steps": "environment steps", "minutes": "minutes of training"}
    for axes, (quantity, label) in zip(plot.axes, panels.items(), strict=True):
        for place, (name, seeds) in enumerate(curves.items()):
            style = {
                "color": COLOURS[place % len(COLOURS)],
                "linestyle": LINES[place // len(COLOURS) % len(LINES)],
            }
            for number, points in enumerate(seeds):
                known = [p for p in points if p[quantity] is not None]
                axes.plot(
                    [p[quantity] for p in known],
                    [100 * p["success"] for p in known],
                    marker="o" if len(known) < 8 else None,
                    label=name if number == 0 else None,
                    **style,
                )
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        axes.set_ylim(-3, 103)
        axes.set_yticks(range(0, 101, 20), [f"{tick}%" for tick in range(0, 101, 20)])
    plot.axes[0].xaxis.set_major_formatter(EngFormatter(sep=""))
    lines, labels = plot.axes[0].get_legend_handles_labels()
    plot.figure.legend(lines, labels, loc="outside upper left", ncols=min(len(lines), 6))
    return plot


@styled
def error_by_horizon(
    horizons: Sequence[int],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
) -> Plot:
    """Open-loop error: one panel each ``unit label``, with its imagined, floor and ceiling curves."""
    plot = Plot(columns=len(panels), height=3.5)
    styles: dict[str, dict[str, Any]] = {
        "imagined": {"color": COLOURS[0], "label": "imagined"},
        "posterior": {"color": FLOOR, "linestyle": (0, (1, 1)), "label": "floor: every step seen"},
        "copy_last": {
            "color": CEILING,
            "linestyle": (0, (4, 2)),
            "label": "ceiling: last pose kept",
        },
    }
    for axes, (label, curves) in zip(plot.axes, panels.items(), strict=True):
        for name, style in styles.items():
            axes.plot(horizons, curves[name], **style)
        axes.set_title(label)
        axes.set_xlabel("imagined steps")
        axes.set_xlim(horizons[0], max(horizons[-1], horizons[0] + 1))
        axes.set_ylim(bottom=0)
    lines, labels = plot.axes[0].get_legend_handles_labels()
    plot.figure.legend(lines, labels, loc="outside upper left", ncols=len(lines))
    return plot


@styled
def ranking(correlations: ArrayLike, mean: Interval) -> Plot:
    """Rank correlation of every start, and the mean with its interval."""
    plot = Plot(height=2.1)
    axes = plot.axes[0]
    bins = [edge / 10 for edge in range(-10, 11)]
    axes.axvspan(mean.low, mean.high, color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.axvline(mean.value, color=COLOURS[0])
    axes.hist(correlations, bins=bins, color=CEILING, rwidth=0.86)
    axes.set_xlim(-1, 1)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1], ["−1", "−0.5", "0", "0.5", "1"])
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("rank correlation of predicted with true return, one a start")
    axes.set_ylabel("starts")
    axes.grid(axis="x", visible=False)
    return plot
