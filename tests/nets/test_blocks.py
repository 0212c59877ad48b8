"""The block GRU against its equations written out, and the layers around it."""

import pytest
import torch

from robowm.errors import UserError
from robowm.nets.blocks import BlockGRU, BlockLinear, EnsembleMLP, mlp
from robowm.nets.images import ImageDecoder, ImageEncoder


def test_block_linear_is_a_block_diagonal_matrix():
    torch.manual_seed(0)
    layer = BlockLinear(6, 4, blocks=2)
    full = torch.block_diag(*layer.weight)  # [6, 4]
    x = torch.randn(3, 6)
    torch.testing.assert_close(layer(x), x @ full + layer.bias)


def test_block_gru_equals_its_equations():
    torch.manual_seed(0)
    cell = BlockGRU(inputs=5, deter=8, blocks=2)
    x, deter = torch.randn(3, 5), torch.randn(3, 8)
    hidden = cell.norm(x @ cell.enter.weight.T + deter @ torch.block_diag(*cell.recur.weight))
    gates = hidden @ torch.block_diag(*cell.gates.weight)
    parts = [[], [], []]
    for block in gates.split(12, -1):  # each block's outputs are its reset, candidate, update
        for part, value in zip(parts, block.split(4, -1), strict=True):
            part.append(value)
    reset, candidate, update = (torch.cat(p, -1) for p in parts)
    update = torch.sigmoid(update - 1)
    expected = update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * deter
    torch.testing.assert_close(cell(x, deter), expected)


def test_block_gru_keeps_blocks_apart_in_the_gates():
    torch.manual_seed(0)
    cell = BlockGRU(inputs=5, deter=8, blocks=2)
    hidden = torch.randn(1, 8, requires_grad=True)
    cell.gates(hidden)[:, :12].sum().backward()  # first block's gates
    assert (hidden.grad[:, :4] != 0).all() and (hidden.grad[:, 4:] == 0).all()


def test_ensemble_members_equal_separate_networks():
    torch.manual_seed(0)
    net = EnsembleMLP(3, 4, 8, 1, 2)
    x = torch.randn(5, 4)
    together = net(x)
    for e in range(3):
        hidden = x @ net.weights[0][e] + net.biases[0][e]
        hidden = torch.nn.functional.layer_norm(hidden, (8,), eps=1e-4) * net.gains[0][e]
        alone = torch.nn.functional.silu(hidden) @ net.weights[1][e] + net.biases[1][e]
        torch.testing.assert_close(together[e], alone)


def test_encoder_sees_where_a_thing_is():
    torch.manual_seed(0)
    encoder = ImageEncoder((64, 64, 3), depth=4)
    images = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    images[0, 10:14, 10:14], images[1, 40:44, 50:54] = 255, 255
    out = encoder(images)
    assert out.shape == (2, encoder.size)
    assert (out[0] - out[1]).abs().max() > 0.1


def test_patches_are_those_of_a_strided_convolution():
    """The first layer is a convolution of kernel and stride four, with coordinates added."""
    torch.manual_seed(0)
    encoder = ImageEncoder((32, 32, 3), depth=4)
    image = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    encoder.convolutions = torch.nn.ModuleList()
    pixels = image.permute(0, 3, 1, 2) / 255 - 0.5
    kernel = encoder.pixels.weight.view(-1, 4, 4, 3).permute(0, 3, 1, 2)
    expected = torch.nn.functional.conv2d(pixels, kernel, encoder.pixels.bias, 4)
    place = encoder.place(encoder.coordinates).T.view(1, -1, 8, 8)
    torch.testing.assert_close(
        encoder(image), (expected + place).relu().flatten(1), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("shape", [(48, 48, 3), (64, 32, 3), (8, 8, 3)])
def test_images_that_do_not_fit_are_refused(shape):
    with pytest.raises(UserError, match="expected squares"):
        ImageEncoder(shape, depth=4)


def test_decoder_gives_an_image():
    decoder = ImageDecoder((32, 32, 3), inputs=7, hidden=16, depth=4)
    assert decoder(torch.randn(2, 7)).shape == (2, 32, 32, 3)


def test_mlp_starts_at_zero_where_asked():
    assert mlp(3, 8, 1, 2, scale=0.0)(torch.randn(4, 3)).abs().max() == 0
