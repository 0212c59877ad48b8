"""Configurations: dataclasses filled from configs/ and the command line, or one sentence why not.

Hydra composes the files; everything is typed by dataclasses, so that a wrong name, key or type fails
before anything runs. How to write one is said in :mod:`robowm.cli`.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import robowm
from robowm.behaviour import BEHAVIOURS
from robowm.dispatch import ARMS
from robowm.errors import UserError, unknown
from robowm.models import MODELS
from robowm.planning import PLANNERS
from robowm.registry import Registry

# Groups whose options are classes: the dataclass of each is known to Hydra as ``base_<kind>``.
REGISTRIES: Mapping[str, Registry] = {
    "model": MODELS,
    "planner": PLANNERS,
    "behaviour": BEHAVIOURS,
    "arm": ARMS,
}
PRESET = "preset"


@dataclasses.dataclass
class TaskConfig:
    """An environment; the options are in configs/task.

    Attributes:
      name: a task of ``robowm_envs``.
      observation: ``pixels``, or ``state`` for the object's pose in place of the images.
      cameras: pictures that the agent sees.
      image_size: height and width of each, in pixels.
      randomise: groups of domain randomisation.
    """

    name: str = MISSING
    observation: str = "pixels"
    cameras: list[str] = dataclasses.field(default_factory=lambda: ["front", "wrist"])
    image_size: int = 64
    randomise: list[str] = dataclasses.field(default_factory=lambda: ["pose", "friction", "mass"])

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of ``robowm_envs.make``; split and seed are the caller's."""
        return {
            "task": self.name,
            "observation": self.observation,
            "cameras": tuple(self.cameras),
            "image_size": self.image_size,
            "randomise": tuple(self.randomise),
        }


def folder() -> Path:
    """configs/: inside the package when installed, beside it in a checkout."""
    package = Path(robowm.__file__).parent
    for path in (package / "configs", package.parent / "configs"):
        if path.is_dir():
            return path
    raise UserError(f"configs/ is neither in {package} nor beside it: install robowm again.")


def options(group: str) -> list[str]:
    """The choices of a group, as the command line names them."""
    root = folder() / group
    if group == PRESET:  # one folder a preset, one file in it a script
        return sorted(path.name for path in root.iterdir() if path.is_dir())
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def config_class(registry: Registry, kind: str) -> type:
    """The dataclass beside a registered class: ``RSSM`` has ``RSSMConfig``."""
    cls = registry[kind]
    return getattr(sys.modules[cls.__module__], f"{cls.__name__}Config")


def typed(schema: type, values: Mapping[str, Any]) -> Any:
    """An instance of ``schema`` from plain data, as a checkpoint keeps it."""
    try:
        return OmegaConf.to_object(OmegaConf.merge(_node(schema), dict(values)))
    except OmegaConfBaseException as error:
        raise UserError(
            f"a stored configuration does not fit {schema.__name__} ({_first_line(error)}): it was "
            "written by another version."
        ) from error


def compose(
    name: str, schema: type, overrides: Sequence[str] = (), choose: bool = False
) -> DictConfig:
    """configs/``name``.yaml with ``overrides``, typed by ``schema``; values may be missing still.

    ``choose`` takes the first option where the command line must choose one, to show the keys.
    Raises :class:`UserError` for an unknown option, an unknown key or a wrong type.
    """
    _register(name, schema)
    groups, values = _split(name, overrides)
    chosen = {group.partition("=")[0] for group in groups}
    for group, option in chosen_groups(name).items():
        if choose and option == "???" and group not in chosen:
            groups.append(f"{group}={options(group)[0]}")
    with hydra.initialize_config_dir(str(folder()), version_base="1.3"):
        try:
            base = hydra.compose(name, groups)
            for override in values:
                _check_key(base, override)
            return hydra.compose(name, [*groups, *(str(o.input_line) for o in values)])
        except (HydraException, OmegaConfBaseException) as error:
            raise _sentence(name, error) from error


def finish(name: str, config: DictConfig) -> Any:
    """The dataclass, once nothing is missing."""
    if missing := sorted(OmegaConf.missing_keys(config)):
        wanted = " ".join(f"{key}=..." for key in missing)
        raise UserError(f"{name} needs {wanted} on its command line; --help lists every key.")
    return OmegaConf.to_object(config)


def keys(config: DictConfig) -> dict[str, Any]:
    """Every value by its dotted key, in order; what is missing is ``"???"``."""
    found: dict[str, Any] = {}

    def walk(node: DictConfig, prefix: str) -> None:
        for key in map(str, node):
            if OmegaConf.is_missing(node, key):
                found[prefix + key] = "???"
            elif isinstance(node[key], DictConfig):
                walk(node[key], f"{prefix}{key}.")
            else:
                found[prefix + key] = node[key]

    walk(config, "")
    return found


def _node(schema: type) -> DictConfig:
    """A structured config that may be filled even where its dataclass is frozen."""
    node = OmegaConf.structured(schema)
    _thaw(node)
    return node


def _thaw(node: Any) -> None:
    if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing()):
        node._set_flag("readonly", None)
        for key in node:
            _thaw(node._get_node(key))


def _register(name: str, schema: type) -> None:
    store = ConfigStore.instance()
    store.store(name=f"base_{name}", node=_node(schema))
    used = chosen_groups(name)
    for group in REGISTRIES.keys() & used.keys():  # importing a model is not free
        registry = REGISTRIES[group]
        for kind in registry:
            try:
                node = _node(config_class(registry, kind))
            except UserError:  # an optional package is missing; said when this kind is chosen
                continue
            store.store(group=group, name=f"base_{kind}", node=node)
    store.store(group="task", name="base_task", node=_node(TaskConfig))


def chosen_groups(name: str) -> dict[str, str]:
    """The groups in the defaults of configs/``name``.yaml, and their options; ``???`` is none."""
    entries = yaml.safe_load((folder() / f"{name}.yaml").read_text())["defaults"]
    return {group: option for e in entries if isinstance(e, dict) for group, option in e.items()}


def _split(name: str, overrides: Sequence[str]) -> tuple[list[str], list[Override]]:
    """Choices of a group's option, checked; and settings of a value."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(
            f"cannot read {' '.join(overrides)!r} ({_first_line(error)}): settings are key=value."
        ) from error
    known = {*chosen_groups(name), PRESET}
    groups, values = [], []
    for override in parsed:
        group = override.key_or_group
        if group not in known:
            override.input_line = str(override.input_line).lstrip("+")
            values.append(override)
            continue
        choice = override.value()
        for option in choice if isinstance(choice, list) else [choice]:
            if str(option) not in options(group):
                raise unknown(group, str(option), options(group))
        if group == PRESET:
            if not (folder() / PRESET / str(choice) / f"{name}.yaml").is_file():
                raise UserError(f"preset {choice!r} has nothing for {name}: leave it out.")
            groups.append(f"+{PRESET}={choice}/{name}")
        else:
            groups.append(str(override.input_line).lstrip("+"))
    return groups, values


def _check_key(config: DictConfig, override: Override) -> None:
    known = keys(config)
    key = override.key_or_group
    inner = any(name.startswith(f"{key}.") for name in known)
    outer = any(key.startswith(f"{name}.") for name in known)  # inside a mapping, or a null
    if key in known or inner or outer:
        return
    raise UserError(f"unknown key {key!r}: {_near(key, known)}--help lists every key.")


def _near(key: str, known: Iterable[str]) -> str:
    """The hint "did you mean ...?" by the whole name, or by its last part."""
    known = list(known)
    groups = sorted(path.name for path in folder().iterdir() if path.is_dir())
    last = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = last or difflib.get_close_matches(key, [*known, *groups], n=3, cutoff=0.7)
    if not near:
        ends = {name.rpartition(".")[2]: name for name in known}
        near = [
            ends[end] for end in difflib.get_close_matches(key.rpartition(".")[2], ends, cutoff=0.7)
        ]
    return f"did you mean {' or '.join(near)}? " if near else ""


def _sentence(name: str, error: Exception) -> UserError:
    text = str(error)
    if "You must specify" in text:
        group = text.split("'")[1]
        return UserError(f"{name} needs {group}=...: choose one of {', '.join(options(group))}.")
    if "Could not load" in text and "base_" in text:  # its class needs an optional package
        kind = text.rpartition("base_")[2].split("'")[0]
        for registry in REGISTRIES.values():
            if kind in registry:
                try:
                    registry[kind]
                except UserError as missing:
                    return missing
    cause = error.__cause__ or error
    if isinstance(cause, OmegaConfBaseException):
        key = f"{cause.full_key}: " if cause.full_key else ""
        return UserError(f"{key}{_first_line(cause)}; --cfg shows what is set, --help the keys.")
    return UserError(f"{name} cannot be composed: {_first_line(error)}.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
