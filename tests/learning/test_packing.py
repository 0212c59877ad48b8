import json

import numpy as np
import pytest
import torch

from robowm.learning import packing, randomness


def round_trip(state):
    plain, tensors = packing.pack(state)
    return packing.unpack(json.loads(json.dumps(plain)), tensors)


def test_nested_state_returns_with_its_types():
    state = {
        "a": {"b": np.arange(3, dtype=np.uint64), "n": 2**127 + 1, "none": None},
        "list": [torch.ones(2, dtype=torch.bfloat16), 0.1, "text", True],
    }
    back = round_trip(state)
    assert isinstance(back["a"]["b"], np.ndarray) and back["a"]["b"].dtype == np.uint64
    assert back["a"]["b"].tolist() == [0, 1, 2]
    assert back["a"]["n"] == 2**127 + 1 and back["a"]["none"] is None
    assert torch.equal(back["list"][0], state["list"][0])
    assert back["list"][1:] == [0.1, "text", True]


def test_names_that_coincide_are_kept_apart():
    back = round_trip({"a.b": np.zeros(1), "a": {"b": np.ones(1)}})
    assert back["a.b"].item() == 0 and back["a"]["b"].item() == 1


@pytest.mark.parametrize("state", [{"x": object()}, {"x": {1: 2}}])
def test_what_json_cannot_carry_is_refused(state):
    with pytest.raises(TypeError, match="'x'"):
        packing.pack(state)


def test_random_streams_go_on_where_they_were():
    import random

    randomness.seed_all(3)
    saved = round_trip(randomness.state_dict())

    def draw():
        return torch.randn(2).tolist(), np.random.rand(), random.random(), random.gauss(0, 1)

    first = draw()
    assert draw() != first
    randomness.load_state_dict(saved)
    assert draw() == first
