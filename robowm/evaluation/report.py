"""A report as one HTML file: tables first, pictures and videos inside it, light and dark."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from robowm.evaluation.pictures import Image, encode_png, write_bytes
from robowm.evaluation.plots import Plot

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f25; --muted: #5c6672; --rule: #dde1e6;
  --paper: #ffffff; --page: #f4f5f7; --accent: #2f7fd6; --good: #1f8a5b; --bad: #c0392f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --muted: #98a2ae; --rule: #323943;
  --paper: #1b1f25; --page: #12151a; --accent: #5ea3ec; --good: #4cc38a; --bad: #ee7a70; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 20px 64px; }
header { margin-bottom: 24px; }
h1 { font-size: 27px; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 4px; }
header p { margin: 0; color: var(--muted); }
section { background: var(--paper); border: 1px solid var(--rule); border-radius: 12px;
  padding: 20px 24px 22px; margin: 0 0 18px; }
h2 { font-size: 16px; margin: 0 0 10px; letter-spacing: -0.005em; }
p.note, figcaption { color: var(--muted); font-size: 13.5px; margin: 10px 0 0; max-width: 78ch; }
.headline { display: flex; flex-wrap: wrap; gap: 18px 44px; }
.headline b { display: block; font-size: 32px; line-height: 1.15; font-weight: 650;
  letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.headline span { color: var(--muted); font-size: 13.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 9px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
th { color: var(--muted); font-weight: 500; font-size: 12.5px; border-bottom: 1px solid var(--rule);
  vertical-align: bottom; }
td { border-bottom: 1px solid var(--rule); }
tbody tr:last-child td { border-bottom: 0; }
tr.first td { font-weight: 650; }
td small { color: var(--muted); font-weight: 400; font-size: 12.5px; margin-left: 6px; }
td.yes { color: var(--good); } td.no { color: var(--bad); }
figure { margin: 14px 0 0; } figure:first-of-type { margin-top: 0; }
figure svg, figure img, figure video { display: block; max-width: 100%; height: auto; }
figure img, figure video { border-radius: 8px; background: #16191e; }
figure img, figure svg { width: 100%; }
figure:has(> svg) { overflow-x: auto; } figure > svg { min-width: 620px; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 18px; }
.grid figure { margin: 0; } .grid video { width: 100%; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 5px 0 12px;
  vertical-align: -1px; } .key:first-child { margin-left: 0; }
details > summary { cursor: pointer; font-size: 16px; font-weight: 650; }
details[open] > summary { margin-bottom: 10px; }
footer { color: var(--muted); font-size: 12.5px; margin-top: 26px; overflow-wrap: anywhere; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<header><h1>{title}</h1><p>{subtitle}</p></header>
{body}
<footer>{footer}</footer>
</main>
</body>
</html>
"""


class Report:
    """Sections one under the other; the page needs nothing but itself.

    Texts are escaped, but for ``html`` of :meth:`section`.
    """

    def __init__(self, title: str, subtitle: str = "", footer: str = ""):
        self.title, self.subtitle, self.footer = title, subtitle, footer
        self._sections: list[str] = []

    def section(self, title: str, *parts: str, note: str = "", folded: bool = False) -> None:
        """``parts`` come from the functions below."""
        body = "".join(parts) + (f'<p class="note">{html.escape(note)}</p>' if note else "")
        head = html.escape(title)
        if folded:
            body = f"<details><summary>{head}</summary>{body}</details>"
        elif title:
            body = f"<h2>{head}</h2>{body}"
        self._sections.append(f"<section>{body}</section>")

    def write(self, path: Path) -> None:
        page = _PAGE.format(
            style=_STYLE,
            body="\n".join(self._sections),
            **{key: html.escape(getattr(self, key)) for key in ("title", "subtitle", "footer")},
        )
        write_bytes(path, page.encode())


def headline(numbers: Mapping[str, str]) -> str:
    """The few numbers that matter, large: what it is -> how much."""
    items = (
        f"<div><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>"
        for name, value in numbers.items()
    )
    return f'<div class="headline">{"".join(items)}</div>'


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], lead: bool = False) -> str:
    """Rows of plain values; a pair ``(value, aside)`` shows the aside smaller, a bool yes or no.

    ``lead`` sets the first row in bold.
    """
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = []
    for index, row in enumerate(rows):
        mark = ' class="first"' if lead and index == 0 else ""
        body.append(f"<tr{mark}>{''.join(_cell(value) for value in row)}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def plot(drawing: Plot, caption: str = "") -> str:
    return _figure(drawing.svg(), caption)


def image(picture: Image, caption: str) -> str:
    source = _data_uri("image/png", encode_png(picture))
    return _figure(f'<img src="{source}" alt="{html.escape(caption, quote=True)}">', caption)


def video(mp4: bytes, caption: str = "") -> str:
    """``mp4`` is a whole H.264 file."""
    source = _data_uri("video/mp4", mp4)
    return _figure(
        f'<video src="{source}" controls loop muted autoplay playsinline></video>', caption
    )


def dispatched(folder: Path) -> list[str]:
    """The film and the card that plan.py left in ``folder``."""
    encoded = np.frombuffer((folder / "plan_card.png").read_bytes(), np.uint8)
    card = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)
    return [video((folder / "episode.mp4").read_bytes()), image(card, "The plan card.")]


def grid(parts: Sequence[str]) -> str:
    """Figures side by side, as many as fit."""
    return f'<div class="grid">{"".join(parts)}</div>'


def key(colours: Mapping[str, tuple[int, int, int]]) -> str:
    """What each colour of a picture means."""
    marks = (
        f'<span class="key" style="background: rgb{colour}"></span>{html.escape(name)}'
        for name, colour in colours.items()
    )
    return f'<p class="note">{"".join(marks)}</p>'


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A number for people; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f}{unit}"


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Standard JSON: NaN is an error here, so turn it into None before."""
    write_bytes(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def _figure(content: str, caption: str) -> str:
    words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{content}{words}</figure>"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return '<td class="yes">yes</td>' if value else '<td class="no">no</td>'
    if isinstance(value, tuple):
        value, aside = value
        return f"<td>{html.escape(str(value))}<small>{html.escape(str(aside))}</small></td>"
    return f"<td>{html.escape(str(value))}</td>"


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
