"""A configuration as flat parameters, the way that ROS 2 names and overrides them.

A parameter is a leaf of the configuration: ``safety.clearance_m``. The few that a robot's own files set
have the short names of :data:`SHORT`, and ``limits.*`` and ``topics.*`` are those of the arm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from robowm.errors import UserError, unknown

SHORT = {
    "mode": "dispatch.mode",
    "dt": "dispatch.step_s",
    "cmd_timeout_s": "dispatch.planner_timeout_s",
    "horizon": "planner.horizon",
    "rate_hz": "arm.rate_hz",
    "joint_names": "arm.joint_names",
}  # parameter -> key
GROUPS = {"limits": "arm.limits", "topics": "arm.topics"}  # prefix of parameters -> of keys
SECTIONS = ("dispatch", "safety")  # whose parameters are called as their keys
STALE = "stale_s"  # what safety.stale_periods comes to

Value = bool | int | float | str | list[Any]


def parameters(config: Any) -> dict[str, Value]:
    """Of the dataclass ``config``, with their values. What is not set (None) cannot be said in ROS."""
    values = _leaves(dataclasses.asdict(config))
    found: dict[str, Value] = {}
    for name, key in _keys(values).items():
        value = values[key]
        if value is not None:
            found[name] = list(value) if isinstance(value, tuple) else value
    found[STALE] = values["safety.stale_periods"] / values["arm.rate_hz"]
    return found


def overridden(config: Any, given: Mapping[str, Any]) -> Any:
    """``config`` with parameters that were given in place of its own.

    Raises UserError for a name that is none or a value of another type.
    """
    values = _leaves(dataclasses.asdict(config))
    keys = _keys(values)
    tree = OmegaConf.structured(config)
    for name in sorted(given, key=lambda name: name == STALE):  # which needs the rate
        if name != STALE and name not in keys:
            raise unknown("parameter", name, [*keys, STALE])
        key, value = keys.get(name, "safety.stale_periods"), given[name]
        try:
            periods = float(value) * tree.arm.rate_hz if name == STALE else None
            OmegaConf.update(tree, key, value if periods is None else periods)
        except (OmegaConfBaseException, ValueError, TypeError) as error:
            raise UserError(
                f"parameter {name} is {value!r}, expected a value like {values[key]!r}."
            ) from error
    return OmegaConf.to_object(tree)


def _keys(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameter -> key, of those that the configuration has."""
    keys = {name: key for name, key in SHORT.items() if key in values}
    taken = set(keys.values())
    for key in values:
        for prefix, of in GROUPS.items():
            if key.startswith(f"{of}."):
                keys[prefix + key.removeprefix(of)] = key
        if key.partition(".")[0] in SECTIONS and key not in taken:
            keys[key] = key
    return keys


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
