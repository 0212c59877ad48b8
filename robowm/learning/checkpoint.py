"""Checkpoints: one folder a step, written beside and renamed, checked by hash when read.

::

    OUT/checkpoints/step_00001000/model.safetensors      model and behaviours, by parameter name
                                  optimizer.safetensors  moments, by parameter index
                                  state.safetensors      arrays of random streams, replay, loggers
                                  state.json             the rest of them
                                  config.json            the resolved configuration
                                  spec.json              the TaskSpec
                                  manifest.json          format version, sha256 of each file
    OUT/checkpoints/last -> step_00001000                relative, so that OUT may be moved

A process killed at any moment leaves either the checkpoint before or the new one, never a part.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors
from torch import nn

from robowm import __version__
from robowm.errors import UserError
from robowm.learning import packing
from robowm.spec import TaskSpec

FORMAT = 1
_STEP = re.compile(r"step_(\d{8,})")
_TENSORS = ("model.safetensors", "optimizer.safetensors", "state.safetensors")
_JSON = ("state.json", "config.json", "spec.json")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds.

    Attributes:
      path: the step folder.
      step: updates done.
      config: the resolved configuration, plain data.
      spec: what the model was trained to see and send.
      weights: tensors named ``model.<parameter>`` and ``behaviour.<name>.<parameter>``.
      optimizer: tensors of the optimiser's state.
      state: the trainer's counters, random streams, replay and logger states.
    """

    path: Path
    step: int
    config: dict[str, Any]
    spec: TaskSpec
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    state: dict[str, Any]

    def restore(self, model: nn.Module, behaviours: Mapping[str, nn.Module] | None = None) -> None:
        """Load the weights into modules built from :attr:`config`.

        Behaviours that are not handed in are left out; each that is must be in the checkpoint.
        """
        self._restore_one("model", model)
        for name, behaviour in (behaviours or {}).items():
            self._restore_one(f"behaviour.{name}", behaviour)

    def lend(self, model: nn.Module, behaviours: Mapping[str, nn.Module]) -> list[str]:
        """Load what fits into modules of another task or configuration: weights of the same name
        and shape. The rest stays as it is; its names are returned.

        Raises :class:`UserError` where nothing of the model fits.
        """
        modules = {"model": model, **{f"behaviour.{k}": v for k, v in behaviours.items()}}
        anew: list[str] = []
        for prefix, module in modules.items():
            known = {name: self.weights.get(f"{prefix}.{name}") for name in module.state_dict()}
            fitting = {
                name: known[name]
                for name, tensor in module.state_dict().items()
                if _shape(known[name]) == tuple(tensor.shape)
            }
            if prefix == "model" and not fitting:
                raise UserError(
                    f"nothing of the checkpoint {self.path} fits the model that is to be trained: "
                    "give one of the same kind and size, or none."
                )
            module.load_state_dict(fitting, strict=False)
            anew += [f"{prefix}.{name}" for name in known if name not in fitting]
        return anew

    def _restore_one(self, prefix: str, module: nn.Module) -> None:
        start = len(prefix) + 1
        mine = {k[start:]: v for k, v in self.weights.items() if k.startswith(f"{prefix}.")}
        theirs = module.state_dict()
        for name in sorted(set(mine) | set(theirs)):
            saved, wanted = _shape(mine.get(name)), _shape(theirs.get(name))
            if saved != wanted:
                raise UserError(
                    f"the checkpoint {self.path} does not fit: {prefix}.{name} has shape {saved} in "
                    f"it, expected {wanted}; use the model configuration that it was trained with."
                )
        module.load_state_dict(mine)


def collect_weights(
    model: nn.Module, behaviours: Mapping[str, nn.Module]
) -> dict[str, torch.Tensor]:
    """All parameters and buffers by the names that :meth:`Checkpoint.restore` reads."""
    modules = {"model": model, **{f"behaviour.{k}": v for k, v in behaviours.items()}}
    # Cloned, since safetensors refuses tensors that share memory.
    return {
        f"{prefix}.{name}": tensor.detach().cpu().clone().contiguous()
        for prefix, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


def save(
    out: Path,
    step: int,
    *,
    weights: Mapping[str, torch.Tensor],
    optimizer: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
    config: Mapping[str, Any],
    spec: TaskSpec,
    keep: int,
) -> Path:
    """Write one checkpoint, move ``last`` to it, and remove all but the newest ``keep``."""
    root = out / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"step_{step:08d}"
    plain, arrays = packing.pack(state)
    contents = {
        "model.safetensors": format_tensors(dict(weights)),
        "optimizer.safetensors": format_tensors(dict(optimizer)),
        "state.safetensors": format_tensors(arrays),
        "state.json": _encode(plain),
        "config.json": _encode(config),
        "spec.json": _encode(spec.to_dict()),
    }
    contents["manifest.json"] = _encode(
        {
            "format": FORMAT,
            "robowm": __version__,
            "step": step,
            "files": {
                name: {"sha256": hashlib.sha256(data).hexdigest()}
                for name, data in contents.items()
            },
        }
    )
    beside = root / f".{folder.name}.{os.getpid()}.new"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for name, data in contents.items():
        with (beside / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    _sync(beside)
    if folder.exists():  # left by a run that was killed before `last` pointed to it
        stale = root / f".{folder.name}.{os.getpid()}.old"
        folder.rename(stale)
        shutil.rmtree(stale)
    beside.rename(folder)
    _sync(root)
    link = root / f".last.{os.getpid()}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(root / "last")
    _sync(root)
    for old in _steps(root)[:-keep]:
        if old != folder:
            shutil.rmtree(old)
    return folder


def remove_leftovers(out: Path) -> None:
    """Remove what processes that were killed while saving left beside the checkpoints."""
    for path in (out / "checkpoints").glob(".*.[0-9]*.*"):
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)


def find(path: str | Path) -> Path | None:
    """The step folder that ``path`` means: a run's OUT, its ``checkpoints`` or one step folder.

    None where nothing was saved yet.
    """
    path = Path(path)
    for candidate in (path / "checkpoints" / "last", path / "last"):
        if candidate.is_symlink() and not candidate.exists():
            raise UserError(
                f"{candidate} points to {candidate.readlink()}, which is missing: point it to "
                "another step folder beside it, or remove it to start anew."
            )
        if candidate.exists():
            return candidate.resolve()
    is_step = _STEP.fullmatch(path.resolve().name) or any(
        (path / name).exists() for name in _TENSORS
    )
    return path.resolve() if path.is_dir() and is_step else None


def load(path: str | Path) -> Checkpoint:
    """Read and verify the checkpoint at ``path`` (see :func:`find`), onto the CPU.

    Raises :class:`UserError` where it is missing, half-written, damaged or of another version.
    """
    folder = find(path)
    if folder is None:
        raise UserError(
            f"there is no checkpoint at {path}: give the folder that train.py wrote (its `out`), "
            "or one step folder in its `checkpoints`."
        )
    manifest = _read_manifest(folder)
    contents = {name: _read_verified(folder, name, manifest["files"]) for name in _TENSORS + _JSON}
    try:
        tensors = {name: parse_tensors(contents[name]) for name in _TENSORS}
        data = {name: json.loads(contents[name]) for name in _JSON}
    except (SafetensorError, ValueError) as error:
        raise _damaged(folder, f"cannot be read ({error})") from error
    return Checkpoint(
        path=folder,
        step=int(manifest["step"]),
        config=data["config.json"],
        spec=TaskSpec.from_dict(data["spec.json"]),
        weights=tensors["model.safetensors"],
        optimizer=tensors["optimizer.safetensors"],
        state=packing.unpack(data["state.json"], tensors["state.safetensors"]),
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        text = (folder / "manifest.json").read_bytes()
    except FileNotFoundError:
        raise _damaged(folder, "has no manifest.json") from None
    try:
        manifest = json.loads(text)
        version = manifest["format"]
        complete = isinstance(manifest["step"], int) and isinstance(manifest["files"], dict)
    except (ValueError, KeyError, TypeError):
        raise _damaged(folder, "has an unreadable manifest.json") from None
    if version != FORMAT:
        raise UserError(
            f"the checkpoint {folder} has format {version!r}, this robowm {__version__} reads "
            f"{FORMAT}: use the version that wrote it, or train again."
        )
    # The name holds the step a second time, which catches a change that the hashes do not cover.
    name = _STEP.fullmatch(folder.name)
    if not complete or (name and int(name[1]) != manifest["step"]):
        raise _damaged(folder, "has a manifest.json that contradicts it")
    return manifest


def _read_verified(folder: Path, name: str, files: Mapping[str, Any]) -> bytes:
    try:
        data = (folder / name).read_bytes()
        expected = files[name]["sha256"]
    except (FileNotFoundError, KeyError, TypeError):
        raise _damaged(folder, f"has no {name}") from None
    if hashlib.sha256(data).hexdigest() != expected:
        raise _damaged(folder, f"has a {name} whose sha256 is not the one in its manifest")
    return data


def _damaged(folder: Path, what: str) -> UserError:
    others = [step.name for step in _steps(folder.parent) if step != folder]
    advice = (
        f"use {others[-1]} beside it (`ln -sfn {others[-1]} {folder.parent / 'last'}` to go on from)"
        if others
        else "train again into another folder"
    )
    return UserError(f"the checkpoint {folder} is damaged: it {what}; {advice}.")


def _steps(root: Path) -> list[Path]:
    found = [path for path in root.iterdir() if _STEP.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def _shape(tensor: torch.Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _encode(data: Any) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()


def _sync(folder: Path) -> None:
    """Make renames inside ``folder`` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
