"""Weights that are cast once, where they are read often and never change."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def in_bfloat16(module: M) -> M:
    """A copy of ``module`` with its parameters in bfloat16, to be called under autocast.

    Autocast alone would cast every frozen weight again at each call, which on a CPU costs more than
    the products save. Buffers keep their precision: they are units and bins, not weights.
    """
    lowered = copy.deepcopy(module)
    for parameter in lowered.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    return lowered
