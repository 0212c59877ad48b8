"""The ROS 2 package ros/robowm_bridge: what colcon installs of it, its launch file and its parameters."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import types
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
import yaml

import bridge as script
from robowm import config as configuration
from robowm.dispatch.bridge.parameters import overridden, parameters

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ros/robowm_bridge"
COLCON = ROOT / ".venv-colcon/bin/colcon"
FILES = sorted((PACKAGE / "config").glob("*.yaml"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The install space of a build."""
    if not COLCON.exists():
        pytest.skip("colcon is not there: make ros-package")
    out = tmp_path_factory.mktemp("colcon")
    bases = [f"--{base}-base={out / base}" for base in ("build", "install")]
    done = subprocess.run(
        [COLCON, f"--log-base={out / 'log'}", "build", f"--base-paths={ROOT / 'ros'}",
         "--packages-select", "robowm_bridge", *bases],
        capture_output=True, text=True, check=False, cwd=out,
        env={**os.environ, "PATH": f"{COLCON.parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "install/robowm_bridge"


def test_colcon_installs_what_ros_looks_for(installed):
    share = installed / "share"
    assert (share / "ament_index/resource_index/packages/robowm_bridge").is_file()
    assert (share / "robowm_bridge/package.xml").is_file()
    assert (share / "robowm_bridge/launch/bridge.launch.py").is_file()
    names = {path.name for path in (share / "robowm_bridge/config").iterdir()}
    assert names == {path.name for path in FILES}
    assert os.access(installed / "lib/robowm_bridge/bridge", os.X_OK)


@pytest.mark.slow
def test_what_is_installed_is_the_same_bridge(installed):
    (code,) = installed.glob("lib/python*/site-packages")
    paths = os.pathsep.join(map(str, (code, ROOT, ROOT / "envs")))
    done = subprocess.run(
        [sys.executable, installed / "lib/robowm_bridge/bridge", "--help"],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "A trained model drives an arm" in done.stdout
    assert (code / "robowm_bridge/bridge.py").read_text() == (
        ROOT / "scripts/bridge.py"
    ).read_text()


def test_the_manifest_names_what_the_node_imports():
    manifest = xml.parse(PACKAGE / "package.xml").getroot()
    assert manifest.get("format") == "3"
    assert manifest.findtext("export/build_type") == "ament_python"
    needed = {depend.text for depend in manifest.findall("exec_depend")}
    assert needed >= {"rclpy", "lifecycle_msgs", "sensor_msgs", "std_msgs", "std_srvs", "trajectory_msgs"}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_parameter_file_fits_the_node(path):
    (node,) = yaml.safe_load(path.read_text()).values()
    given = flat(node["ros__parameters"])
    config = configuration.finish(
        "bridge", configuration.compose("bridge", script.RunBridge, ["arm=ros2", "checkpoint=none"])
    )
    assert given.keys() <= parameters(config).keys()
    changed = overridden(config, given)
    assert changed.arm.joint_names == given["joint_names"]
    assert len(set(changed.arm.joint_names)) == len(changed.arm.joint_names) >= 7


def flat(tree, prefix=""):
    """As ROS names parameters of nested maps."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


class Said:
    """A stand-in for launch's classes, which have no wheel: it keeps what it was given."""

    def __init__(self, *given, **named):
        self.given, self.named = given, named


def stub(monkeypatch, module, **names):
    made = types.ModuleType(module)
    made.__dict__.update(names)
    monkeypatch.setitem(sys.modules, module, made)


def test_the_launch_file_starts_the_node_with_its_arguments(monkeypatch):
    kinds = {
        name: type(name, (Said,), {})
        for name in (
            "LaunchDescription", "DeclareLaunchArgument", "LaunchConfiguration",
            "PathJoinSubstitution", "LifecycleNode", "FindPackageShare",
        )
    }  # fmt: skip
    for module, names in {
        "launch": ["LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument"],
        "launch.substitutions": ["LaunchConfiguration", "PathJoinSubstitution"],
        "launch_ros": [],
        "launch_ros.actions": ["LifecycleNode"],
        "launch_ros.substitutions": ["FindPackageShare"],
    }.items():
        stub(monkeypatch, module, **{name: kinds[name] for name in names})
    made = runpy.run_path(str(PACKAGE / "launch/bridge.launch.py"))["generate_launch_description"]()
    *declared, node = made.given[0]
    names = [argument.given[0] for argument in declared]
    assert {"namespace", "params_file", "checkpoint", "mode", "joint_states", "command"} <= set(
        names
    )
    default = {a.given[0]: a.named["default_value"] for a in declared}
    assert default["mode"] == "confirm"  # nothing moves by itself
    assert (PACKAGE / "config" / f"{default['arm']}.yaml") in FILES
    assert isinstance(node, kinds["LifecycleNode"])
    assert node.named["name"] == "robowm_bridge" and node.named["executable"] == "bridge"
    assert node.named["namespace"].given == ("namespace",)
    used = {c.given[0] for _, c in node.named["remappings"]} | {"namespace", "params_file", "arm"}
    keys = [a for a in node.named["arguments"] if isinstance(a, list)]
    assert used | {argument[1].given[0] for argument in keys} == set(names)
    assert "arm=ros2" in node.named["arguments"]
    settings = ["arm=ros2", *(f"{key[0]}{value(default[key[1].given[0]])}" for key in keys)]
    configuration.finish("bridge", configuration.compose("bridge", script.RunBridge, settings))


def value(default):
    return default if isinstance(default, str) else "x"


def test_remappings_are_of_topics_that_the_node_has():
    config = configuration.finish(
        "bridge", configuration.compose("bridge", script.RunBridge, ["arm=ros2", "checkpoint=none"])
    )
    topics = config.arm.topics
    known = {topics.joint_states, topics.trajectory, *topics.cameras.values()}
    text = (PACKAGE / "launch/bridge.launch.py").read_text()
    for topic in known:
        assert f'("{topic}", ' in text
