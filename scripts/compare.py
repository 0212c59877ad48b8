"""One table and one page from the reports of evaluate.py and baseline.py, training seeds pooled.

``reports=[runs/a,mine:runs/b,...]`` are report.json files or folders that hold some; a label before
``:`` names an agent. ``curves=[...]``, read alike, are evaluations of the same agents trained with less
data or for a shorter time: a second table, and lines in place of marks. OUT gets compare.json, compare.md, compare.html, success.png and learning.png.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from omegaconf import MISSING
from rich.console import Console
from rich.table import Table

from robowm import cli
from robowm.errors import UserError
from robowm.evaluation import comparison, pages, plots
from robowm.evaluation.pictures import write_bytes
from robowm.evaluation.report import write_json


@dataclasses.dataclass
class Compare:
    """The whole configuration.

    Attributes:
      reports: paths, or label:path.
      curves: the same, of what was trained with less data or for a shorter time.
      out: folder of the comparison.
    """

    reports: list[str] = MISSING
    curves: list[str] = dataclasses.field(default_factory=list)
    out: str = "outputs/compare"


def main(config: Compare) -> None:
    if not config.reports:
        raise UserError("reports is empty: give reports=[PATH,...].")
    data = comparison.compare(comparison.read(config.reports), comparison.read(config.curves))
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "compare.json", data)
    write_bytes(out / "compare.md", comparison.markdown(data).encode())
    pages.comparison_page(data).write(out / "compare.html")
    write_bytes(out / "success.png", plots.success_rates(data["rows"]).png())
    if data["curves"]:
        write_bytes(out / "learning.png", plots.learning_curves(data["curves"]).png())
    console = Console(highlight=False)
    header, *lines = comparison.table(data["rows"])
    narrow = [header.index(name) for name in ("agent", "success", "each seed", "steps", "minutes")]
    shown = Table(*(header[i] for i in narrow), box=None, padding=(0, 2))
    for line in lines:
        shown.add_row(*(line[i] for i in narrow))
    console.print(shown)
    console.print(f"{out / 'compare.html'}", soft_wrap=True)


if __name__ == "__main__":
    cli.run(main, "compare")
