"""Nested state (dicts, lists, numbers, arrays) as plain JSON beside a flat dict of tensors.

Random-number generators, replays and loggers hand their state over as nested Python data. Arrays in
it go to a safetensors file, the rest to JSON: never pickle, which would run code on loading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_MARK = "$array"


def pack(value: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """``(plain, tensors)``: arrays in ``plain`` are replaced by the name of their tensor."""
    tensors: dict[str, torch.Tensor] = {}

    def visit(node: Any, name: str) -> Any:
        if isinstance(node, (np.ndarray, torch.Tensor)):
            while name in tensors:  # {"a.b": x, "a": {"b": y}}
                name += "'"
            tensors[name] = torch.as_tensor(node).detach().cpu().clone().contiguous()
            return {_MARK: name, "numpy": isinstance(node, np.ndarray)}
        if isinstance(node, np.generic):
            return node.item()
        if isinstance(node, Mapping):
            if bad := [key for key in node if not isinstance(key, str)]:
                raise TypeError(f"state {name!r} has the key {bad[0]!r}: keys must be strings")
            return {
                key: visit(child, f"{name}.{key}" if name else key) for key, child in node.items()
            }
        if isinstance(node, (list, tuple)):
            return [visit(child, f"{name}.{index}") for index, child in enumerate(node)]
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        raise TypeError(f"state {name!r} holds a {type(node).__name__}, which cannot be saved")

    return visit(value, ""), tensors


def unpack(plain: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The inverse of :func:`pack`; tuples come back as lists."""
    if isinstance(plain, dict):
        if _MARK in plain:
            tensor = tensors[plain[_MARK]]
            return tensor.numpy() if plain["numpy"] else tensor
        return {key: unpack(child, tensors) for key, child in plain.items()}
    if isinstance(plain, list):
        return [unpack(child, tensors) for child in plain]
    return plain
