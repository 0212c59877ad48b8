import pytest
import torch

from robowm.errors import UserError
from robowm.planning.gate import GateConfig, ThresholdGate


def test_longest_prefix_within_the_threshold():
    nan = float("nan")
    epistemic = torch.tensor([[0.25, 0.25, 0.5, 0.1], [2, 0, 0, 0], [0, 0, 0, 0], [0.1, nan, 0, 0]])
    steps = ThresholdGate(GateConfig(1.0))(epistemic)
    assert steps.tolist() == [3, 0, 4, 1]
    assert not steps.is_floating_point()


def test_no_threshold_trusts_all():
    assert ThresholdGate(GateConfig())(torch.full((2, 3), 1e30)).tolist() == [3, 3]


@pytest.mark.parametrize("threshold", [-1.0, float("nan")])
def test_a_senseless_threshold_is_refused(threshold):
    with pytest.raises(UserError, match="threshold"):
        GateConfig(threshold)
