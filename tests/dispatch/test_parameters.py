"""A configuration as ROS parameters: what they are called, and what they do."""

import dataclasses
from typing import Any

import pytest
from omegaconf import OmegaConf

from robowm.dispatch.arms.sim import LimitsConfig
from robowm.dispatch.bridge.parameters import overridden, parameters
from robowm.dispatch.online.dispatch_config import DispatchConfig
from robowm.dispatch.safety import SafetyConfig
from robowm.errors import UserError


@dataclasses.dataclass
class Topics:
    joint_states: str = "joint_states"


@dataclasses.dataclass
class ToyArm:
    rate_hz: float = 100.0
    joint_names: list[str] = dataclasses.field(default_factory=lambda: ["a", "b"])
    limits: LimitsConfig = dataclasses.field(default_factory=LimitsConfig)
    topics: Topics = dataclasses.field(default_factory=Topics)


@dataclasses.dataclass
class ToyPlanner:
    horizon: int = 6


@dataclasses.dataclass
class Config:
    arm: Any = dataclasses.field(default_factory=ToyArm)
    planner: Any = dataclasses.field(default_factory=ToyPlanner)
    dispatch: DispatchConfig = dataclasses.field(default_factory=DispatchConfig)
    safety: SafetyConfig = dataclasses.field(default_factory=SafetyConfig)


def test_they_have_short_names_and_plain_values():
    found = parameters(Config())
    assert {"mode", "dt", "rate_hz", "horizon", "joint_names", "stale_s", "cmd_timeout_s"} <= set(
        found
    )
    assert found["stale_s"] == pytest.approx(0.05)
    assert found["topics.joint_states"] == "joint_states"
    assert found["limits.workspace_low"] == [0.25, -0.32, 0.0]
    assert "dispatch.step_s" not in found  # it is dt
    assert "dispatch.lead_steps" not in found  # it is null


def test_nothing_given_changes_nothing():
    config = OmegaConf.to_object(OmegaConf.structured(Config()))  # as from a command line
    assert overridden(config, {}) == config
    assert overridden(config, parameters(config)) == config


def test_what_is_given_takes_its_place_as_the_type_that_is_wanted():
    given = {
        "mode": "shadow", "rate_hz": 50, "stale_s": 0.2, "limits.force_n": 20,
        "joint_names": ["c", "d"], "topics.joint_states": "left/joint_states",
        "limits.workspace_low": [0.3, -0.2, 0.1],
    }  # fmt: skip
    config = overridden(Config(), given)
    assert config.dispatch.mode == "shadow" and config.arm.rate_hz == 50.0
    assert config.safety.stale_periods == pytest.approx(10.0)
    assert config.arm.joint_names == ["c", "d"] and config.arm.limits.force_n == 20.0
    assert tuple(config.arm.limits.workspace_low) == (0.3, -0.2, 0.1)
    assert config.arm.topics.joint_states == "left/joint_states"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rate_hz", "fast", "rate_hz is 'fast'"),
        ("stale_s", "soon", "stale_s is 'soon'"),
        ("stale", 1.0, "did you mean 'stale_s'"),
        ("mode", "automatic", "dispatch.mode"),
        ("safety.slack", -1.0, "safety.slack"),
    ],
)
def test_what_cannot_be_is_one_sentence(name, value, said):
    with pytest.raises(UserError, match=said.replace("'", ".")):
        overridden(Config(), {name: value})
