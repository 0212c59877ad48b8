"""Every fault once, over a real middleware; scripts/faults.py does it many times."""

import importlib.util

import pytest

import faults as script
from robowm.dispatch.bench.trials import scenarios

# The better one that is there; each is a test of its own, so that one that is broken hides no other.
LINK = "ros2" if importlib.util.find_spec("rclpy") else "dds"


@pytest.fixture(scope="module")
def ros2_rig():
    if importlib.util.find_spec("rclpy") is None and importlib.util.find_spec("cyclonedds") is None:
        pytest.skip("there is no middleware: make ros-kilted, or pip install 'robowm[dds]'")
    with script.rig(script.Faults(link=LINK)) as rig:
        yield rig


@pytest.mark.slow  # each lays a scene out, loads a planner's process, and watches for seconds
@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_what_was_promised_is_kept(ros2_rig, name):
    assert scenarios.run(ros2_rig, name, seed=3)


def test_an_unknown_fault_is_one_sentence(capsys):
    from robowm import cli

    assert cli.call(script.main, "faults", ["faults=[flood]"]) == 2
    assert "unknown fault 'flood'" in capsys.readouterr().err
    assert cli.call(script.main, "faults", ["link=local"]) == 2
    assert "choose one of dds, ros2" in capsys.readouterr().err
