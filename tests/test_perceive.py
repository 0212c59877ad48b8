"""scripts/perceive.py: what the first belief says of the poses, against the truth."""

import json

import numpy as np
import pytest

import perceive as script
from robowm import cli


def call(*arguments):
    return cli.call(script.main, "perceive", [*arguments])


def test_errors_of_both_splits_are_written(untrained, tmp_path):
    assert call(f"checkpoint={untrained}", "episodes=3", f"out={tmp_path / 'new'}") == 0
    data = json.loads((tmp_path / "new" / "perception.json").read_text())
    for split in ("train", "validation"):
        assert set(data[split]) == {"object_position", "object_yaw"}
        for errors in data[split].values():
            assert 0 < errors["0.5"] <= errors["0.9"]


def test_errors_are_in_centimetres_and_degrees_up_to_the_symmetry():
    seen = {
        "object_position": np.array([0.03, 0.0, 0.04]),
        "object_yaw": np.array([np.sin(0.2), np.cos(0.2)]),
        "cap_rotation": np.array([0.0, 1.0, 0.0]),
    }
    truth = {
        "object_position": np.zeros(3),
        "object_yaw": np.array([0.0, 1.0]),
        "cap_rotation": np.array([1.0, 0.0, 0.0]),
    }
    errors = script.pose_errors(seen, truth, yaw_order=2)
    assert errors["object_position"] == pytest.approx(5.0)
    assert errors["object_yaw"] == pytest.approx(np.rad2deg(0.1))
    assert errors["cap_rotation"] == pytest.approx(90.0)


@pytest.mark.parametrize(
    ("wrong", "said"), [("episodes=0", "give at least 1"), ("splits.moon=3", "moon")]
)
def test_bad_input_is_told_in_one_sentence(untrained, tmp_path, capfd, wrong, said):
    assert call(f"checkpoint={untrained}", "episodes=1", wrong, f"out={tmp_path / 'out'}") == 2
    error = capfd.readouterr().err.strip()
    assert error.startswith("error: ") and said in error
    assert not (tmp_path / "out").exists()
