"""Checkpoints that are shipped with the code, by the name of a task.

::

    pretrained/NAME/model.safetensors   model and behaviours; matrices as int8, a scale for each output
                    config.json         the configuration that they were trained with
                    spec.json           the TaskSpec
                    card.json           tasks that it serves, sha256, and what was measured with it
                    README.md           the same for people

One byte a weight, an eighth of what training keeps of it, so that a checkpoint can live in the
repository. Figures on a card are those of the shipped weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors
from torch import Tensor

import robowm
from robowm.errors import UserError, unknown
from robowm.learning.checkpoint import Checkpoint
from robowm.spec import TaskSpec

FORMAT = 1
_SCALE = ".scale"  # after a weight's name, its scales
_COPY, _ORIGINAL = ".target.", ".critics."  # a slow copy, which training alone has a use for
_SMALL = 4096  # numbers of a tensor below which it is kept as it is


def folder() -> Path:
    """pretrained/: inside the package when installed, beside it in a checkout."""
    package = Path(robowm.__file__).parent
    inside = package / "pretrained"
    return inside if inside.is_dir() else package.parent / "pretrained"


def names() -> dict[str, Path]:
    """Every name that :func:`load` knows, with the folder that serves it."""
    found: dict[str, Path] = {}
    for card in sorted(folder().glob("*/card.json")):
        for name in (card.parent.name, *_read(card)["tasks"]):
            found.setdefault(name, card.parent)
    return found


def load(name: str) -> Checkpoint:
    """The checkpoint of that name, as if trained for that task.

    Raises :class:`UserError` where there is none, or its files are damaged.
    """
    if name not in (known := names()):
        raise unknown("pretrained checkpoint", name, known)
    return read(known[name], name)


def read(path: Path, name: str) -> Checkpoint:
    """The checkpoint in a folder that :func:`write` wrote, for the task ``name`` if it serves it."""
    card, config = _read(path / "card.json"), _read(path / "config.json")
    if card.get("format") != FORMAT:
        raise UserError(
            f"{path} has format {card.get('format')!r}, this robowm reads {FORMAT}: use the version "
            "that it came with."
        )
    try:
        data = (path / "model.safetensors").read_bytes()
        if hashlib.sha256(data).hexdigest() != card["sha256"]:
            raise _damaged(path, "model.safetensors is not the file that card.json describes")
        weights = unpack(parse_tensors(data))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if name in card["tasks"]:
        config["task"]["name"] = name
    return Checkpoint(
        path=path,
        step=int(card["updates"]),
        config=config,
        spec=TaskSpec.from_dict(_read(path / "spec.json")),
        weights=weights,
        optimizer={},
        state=card["state"],
    )


def write(saved: Checkpoint, path: Path, tasks: Sequence[str], measured: Sequence[Mapping]) -> int:
    """Ship a checkpoint into the folder ``path``; returns the bytes of its weights.

    Args:
      tasks: that it serves.
      measured: rows of report.json, without single episodes, made with the shipped weights.
    """
    path.mkdir(parents=True, exist_ok=True)
    data = format_tensors(pack(saved.weights))
    card = {
        "format": FORMAT,
        "tasks": list(tasks),
        "updates": saved.step,
        "state": {  # what is told of a run's cost
            "elapsed_s": saved.state["elapsed_s"],
            "collected_steps": saved.state["collected_steps"],
            "replay": {"given": list(saved.state["replay"]["given"])},
        },
        "sha256": hashlib.sha256(data).hexdigest(),
        "measured": list(measured),
    }
    (path / "model.safetensors").write_bytes(data)
    for name, content in (
        ("config.json", saved.config),
        ("spec.json", saved.spec.to_dict()),
        ("card.json", card),
    ):
        (path / name).write_text(json.dumps(content, indent=1) + "\n")
    return len(data)


def pack(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large matrices as int8 with a scale for each output, the rest as it is."""
    packed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if _COPY in name:
            continue
        if not weight.is_floating_point():
            packed[name] = weight.contiguous()
        elif weight.ndim < 2 or weight.numel() < _SMALL:
            packed[name] = weight.float().contiguous()
        else:
            # Axis 1 holds the inputs of linear and convolutional layers, and of ensembles of them.
            scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
            packed[name] = (weight / scale).round().to(torch.int8).contiguous()
            packed[name + _SCALE] = scale.float().contiguous()
    return packed


def unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What :func:`pack` packed, to within a 254th of each output's largest weight."""
    scales = {
        name for name in packed if name.removesuffix(_SCALE) in packed and name.endswith(_SCALE)
    }
    weights = {
        name: (tensor.float() * packed[name + _SCALE]).contiguous()
        if name + _SCALE in scales
        else tensor
        for name, tensor in packed.items()
        if name not in scales
    }
    copies = {k.replace(_ORIGINAL, _COPY): v for k, v in weights.items() if _ORIGINAL in k}
    return weights | copies


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise _damaged(path.parent, f"{path.name} cannot be read ({error})") from error


def _damaged(path: Path, what: str) -> UserError:
    return UserError(
        f"the pretrained checkpoint {path} is damaged: {what}; restore it from the repository."
    )
