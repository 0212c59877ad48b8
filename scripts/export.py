"""Ship a trained checkpoint: pack its weights and write its card into OUT/NAME.

With ``reports`` the card gets the figures that evaluate.py measured with ``checkpoint=NAME``: export
once, evaluate what was exported, export again with the reports.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import field
from pathlib import Path
from typing import Any

from omegaconf import MISSING
from rich.console import Console

from robowm import cli
from robowm.errors import UserError
from robowm.learning import checkpoint, pretrained

LIMIT_MIB = 8


@dataclasses.dataclass
class Export:
    """The whole configuration.

    Attributes:
      checkpoint: folder that train.py wrote.
      name: what it shall be called.
      tasks: that it serves, each by its own name.
      reports: report.json files of evaluate.py, for the card.
      out: null is where names are looked up.
    """

    checkpoint: str = MISSING
    name: str = MISSING
    tasks: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    out: str | None = None


def main(config: Export) -> None:
    saved = checkpoint.load(config.checkpoint)
    out = Path(config.out) if config.out else pretrained.folder()
    tasks = config.tasks or [saved.config["task"]["name"]]
    measured = [row for path in config.reports for row in rows(Path(path))]
    size = pretrained.write(saved, out / config.name, tasks, measured) / 2**20
    (out / config.name / "README.md").write_text(card(config.name, saved, tasks, measured))
    Console(highlight=False).print(f"{out / config.name}: {size:.1f} MiB", soft_wrap=True)
    if size > LIMIT_MIB:
        raise UserError(
            f"{out / config.name} has {size:.1f} MiB of weights, expected at most {LIMIT_MIB}: ship a "
            "smaller model."
        )


def rows(path: Path) -> list[dict[str, Any]]:
    """Each agent's row, without its single episodes and without paths of the machine."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): give report.json files of evaluate.py."
        ) from error
    dropped = ("episode_results", "rows", "paired", "checkpoint")
    return [
        {key: value for key, value in row.items() if key not in dropped}
        for row in data.get("rows", [data])
    ]


def card(
    name: str, saved: checkpoint.Checkpoint, tasks: list[str], measured: list[dict[str, Any]]
) -> str:
    config = saved.config
    learning = config["learning"]
    minutes = saved.state.get("elapsed_s", 0) / 60
    seen = " and ".join([*saved.spec.images, *saved.spec.vectors])
    lines = [
        f"# {name}",
        "",
        f"For {', '.join(f'`{task}`' for task in tasks)}: `checkpoint={tasks[0]}`. Sees {seen}; "
        f"sends {', '.join(saved.spec.action.names)}.",
        "",
        f"{saved.step} updates of {learning['batch_size']} x {learning['length']} frames, "
        f"{minutes:.0f} minutes on {learning['processes']} CPU core(s), "
        f"model `{config['model']['kind']}` (deter {config['model']['deter']}, "
        f"{config['model']['stoch']} x {config['model']['classes']}), randomised: "
        f"{', '.join(config['task']['randomise'])}.",
        "",
    ]
    if measured:
        lines += [
            "Final success with its 95% Wilson interval:",
            "",
            "| task | split | push | agent | starts | from seed | success | interval |",
            "|---|---|---|---|---|---|---|---|",
            *(
                f"| {row['task']} | {row['split']} | {row.get('push', 'none')} | {row['agent']} | "
                f"{row['episodes']} | {row['seed']} | {row['success']:.1%} | "
                f"{row['success_low']:.1%} to {row['success_high']:.1%} |"
                for row in measured
            ),
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, "export")
