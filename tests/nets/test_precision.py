import torch

from robowm.nets.blocks import mlp
from robowm.nets.distributions import TwoHot
from robowm.nets.precision import in_bfloat16


def test_weights_are_lowered_in_a_copy_and_buffers_are_not():
    module = torch.nn.ModuleList([mlp(3, 8, 1, 5), TwoHot(5, -1.0, 1.0)])
    lowered = in_bfloat16(module)
    assert {p.dtype for p in lowered.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert torch.equal(lowered[1].bins, module[1].bins) and lowered[1].bins.dtype == torch.float32


def test_a_lowered_module_agrees_to_the_precision_of_its_weights():
    torch.manual_seed(0)
    module, x = mlp(16, 64, 2, 4), torch.randn(100, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        error = in_bfloat16(module)(x).float() - module.float()(x)
    assert float(error.abs().max()) < 0.05
