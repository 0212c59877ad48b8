"""Shipped checkpoints: small, exact enough, and refused where they are not what their card says."""

from __future__ import annotations

import json

import pytest
import torch

from robowm.errors import UserError
from robowm.learning import pretrained


def test_packing_keeps_each_output_within_a_254th_of_its_largest_weight() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        "linear": torch.randn(64, 100, generator=generator) * torch.logspace(-3, 1, 64)[:, None],
        "conv": torch.randn(32, 16, 4, 4, generator=generator),
        "ensemble": torch.randn(3, 50, 40, generator=generator),
        "bias": torch.randn(100, generator=generator),
        "updates": torch.tensor(7),
    }
    packed = pretrained.pack(weights)
    assert packed["linear"].dtype == torch.int8 and packed["bias"].dtype == torch.float32
    back = pretrained.unpack(packed)
    assert back.keys() == weights.keys()
    for name in ("linear", "conv", "ensemble"):
        bound = weights[name].abs().amax(1, keepdim=True) / 254 * 1.001
        assert ((back[name] - weights[name]).abs() <= bound).all()
    assert torch.equal(back["bias"], weights["bias"]) and back["updates"] == 7


def test_the_slow_copy_of_the_critics_is_not_shipped_but_is_there() -> None:
    critic = torch.randn(2, 64, 64)
    packed = pretrained.pack({"b.critics.w": critic, "b.target.w": critic + 0.1})
    assert not any(".target." in name for name in packed)
    back = pretrained.unpack(packed)
    assert torch.equal(back["b.target.w"], back["b.critics.w"])


@pytest.mark.parametrize("name", pretrained.names())
def test_every_shipped_checkpoint_loads_by_each_of_its_names(name: str) -> None:
    saved = pretrained.load(name)
    assert saved.step > 0
    card = json.loads((saved.path / "card.json").read_text())
    if name in card["tasks"]:
        assert saved.config["task"]["name"] == name
    assert (saved.path / "model.safetensors").stat().st_size <= 8 * 2**20


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="nonesuch"):
        pretrained.load("nonesuch")
