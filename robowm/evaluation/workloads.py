"""What robowm is measured at, and its peers beside it: one dictionary, each entry a process.

Those of the same group and size stand beside each other; the first of them is what the others are
compared with. Their files are in benchmarks/peers and say what they do and what they leave out.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

import robowm

GROUPS = ("update", "update_12m", "compiled", "plan", "env")
TASK = {"cameras": 2, "proprio": 25, "action": 5}  # as grasp_rotate_place has them
SHIPPED = {"checkpoint": "grasp_rotate_place"}


@dataclasses.dataclass(frozen=True)
class Clone:
    """A peer that is no package: a folder, which the user gives."""

    url: str
    commit: str  # that it was measured at
    holds: str  # a file that tells it from other folders

    def line(self) -> str:
        name = self.url.rpartition("/")[2]
        return f"git clone {self.url} && git -C {name} checkout {self.commit}"


CLONES = {
    "r2dreamer": Clone("https://github.com/NM512/r2dreamer", "546e4fa", "dreamer.py"),
    "tdmpc2": Clone("https://github.com/nicklashansen/tdmpc2", "e9f5932", "tdmpc2/tdmpc2.py"),
}


@dataclasses.dataclass(frozen=True)
class Workload:
    """One measured process.

    Attributes:
      group: of :data:`GROUPS`.
      size: what is done; the heading of those that stand beside each other.
      file: its Python file in benchmarks/peers.
      settings: what it is told, beside the threads.
      environment: .venv-peer-NAME, made by benchmarks/environments.py; none is the one this runs in.
      clone: of :data:`CLONES`, if it runs one.
    """

    group: str
    size: str
    file: str
    settings: dict[str, Any]
    environment: str | None = None
    clone: str | None = None


def folder() -> Path:
    """benchmarks/, which a checkout has."""
    return Path(robowm.__file__).parents[1] / "benchmarks"


def workloads(configs: Path) -> dict[str, Workload]:
    """Every one of them, by its name; ``configs`` is the folder that names our sizes."""
    small, larger = _sizes(configs, "small"), _sizes(configs, "12m")
    as_small = [
        f"model.deter={small['deter']}",
        f"model.hidden={small['hidden']}",
        f"model.rssm.stoch={small['stoch']}",
        f"model.discrete={small['classes']}",
        f"model.depth={small['depth']}",
        f"model.units={small['hidden']}",
    ]
    return {
        **_updates("update", "small", small, as_small, rows=16, length=16),
        **_updates("update_12m", "12m", larger, [], rows=16, length=64),
        **_compiled(small, rows=16, length=16),
        **_plans(small, samples=512, iterations=6, horizon=3, elites=64),
        **_plans(small, samples=64, iterations=2, horizon=6, elites=32),
        **_environments(),
    }


def _sizes(configs: Path, name: str) -> dict[str, Any]:
    told = yaml.safe_load((configs / "model" / "rssm" / f"{name}.yaml").read_text())
    return {key: told[key] for key in ("deter", "hidden", "stoch", "classes", "depth")}


def _updates(
    group: str, name: str, sizes: dict[str, Any], overrides: list[str], rows: int, length: int
) -> dict[str, Workload]:
    """The world model's update alone, and the whole one; ``overrides`` are of r2dreamer's configs."""
    batch = {"batch": rows, "length": length}
    found: dict[str, Workload] = {}
    for parts, said in (("model", "model alone"), ("all", "model, actor and critic")):
        size = f"update of {said}, {name}, {rows} x {length}"
        told = {**batch, "parts": parts}
        for how, more in (
            ("fp32", {"precision": "fp32", "image_share": 0.125}),
            ("bf16", {"precision": "bf16", "image_share": 0.125}),
            ("every frame", {"precision": "fp32", "image_share": 1.0}),
        ):
            found[f"robowm {group} {parts} {how}"] = Workload(
                group, size, "robowm_update.py", {**SHIPPED, **told, "size": name, **more}
            )
        found[f"torchrl {group} {parts}"] = Workload(
            group, size, "torchrl_update.py", {**TASK, **told, "sizes": sizes}, "torchrl"
        )
    for precision in ("fp32", "bf16") if group == "update" else ("fp32",):  # as memory allows
        found[f"r2dreamer {group} {precision}"] = Workload(
            group,
            size,
            "r2dreamer_update.py",
            {**TASK, **batch, "overrides": overrides, "precision": precision},
            "torchrl",
            "r2dreamer",
        )
    return found


def _compiled(sizes: dict[str, Any], rows: int, length: int) -> dict[str, Workload]:
    """Whole updates as torch.compile makes them, ours eager first."""
    told = {"batch": rows, "length": length, "parts": "all"}
    ours = {**SHIPPED, **told, "size": "small", "precision": "fp32", "image_share": 0.125}
    theirs = {**TASK, **told, "sizes": sizes, "compile": True}
    size = f"update of model, actor and critic, small, {rows} x {length}, compiled"
    return {
        "robowm eager": Workload("compiled", size, "robowm_update.py", ours),
        "robowm compiled": Workload("compiled", size, "robowm_update.py", ours | {"compile": True}),
        "torchrl compiled": Workload("compiled", size, "torchrl_update.py", theirs, "torchrl"),
    }


def _plans(sizes: dict[str, Any], **shape: int) -> dict[str, Workload]:
    samples, iterations, horizon = shape["samples"], shape["iterations"], shape["horizon"]
    size = f"plan, {samples} x {iterations} x {horizon}"
    ours: dict[str, dict[str, Any]] = {
        "fp32": {"precision": "fp32", "search": "all"},
        "bf16": {"precision": "bf16", "search": "all"},
        "alone": {"precision": "fp32", "search": "alone"},
        "plain": {"precision": "fp32", "search": "plain", "sizes": sizes},
    }
    return {
        **{
            f"robowm {size} {name}": Workload(
                "plan", size, "robowm_plan.py", {**SHIPPED, **shape, **told}
            )
            for name, told in ours.items()
        },
        f"tdmpc2 {size}": Workload(
            "plan", size, "tdmpc2_plan.py", {**TASK, "episode": 80, **shape}, "torchrl", "tdmpc2"
        ),
        f"torchrl {size}": Workload(
            "plan", size, "torchrl_plan.py", {**TASK, "sizes": sizes, **shape}, "torchrl"
        ),
    }


def _environments() -> dict[str, Workload]:
    found: dict[str, Workload] = {}
    for pictures, said in ((True, "with pictures of 64 x 64"), (False, "without pictures")):
        size, told = f"environment step {said}", {"steps": 50, "pictures": pictures}
        fetch = {**told, "id": "FetchPickAndPlace-v4"}
        name = "pictures" if pictures else "state"
        found |= {
            f"robowm env {name}": Workload("env", size, "robowm_env.py", told),
            f"robosuite env {name}": Workload("env", size, "robosuite_env.py", told, "robosuite"),
            f"gymnasium-robotics env {name}": Workload(
                "env", size, "gymnasium_robotics_env.py", fetch, "gymnasium-robotics"
            ),
        }
    return found
