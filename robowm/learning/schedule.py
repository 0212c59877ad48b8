"""The learning rate as a function of the update count alone, so that resuming is exact."""

from __future__ import annotations

import math


def learning_rate_factor(
    update: int, *, updates: int | None, warmup: int, final_fraction: float
) -> float:
    """What the base learning rate is multiplied by for update number ``update`` (from 0).

    Rises linearly over ``warmup`` updates, then falls along half a cosine to ``final_fraction`` at
    the last one (Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, without restarts).
    While ``updates`` is not known yet (None) it stays at 1 after the warm-up.
    """
    if update < warmup:
        return (update + 1) / warmup
    if updates is None:
        return 1.0
    span = max(1, updates - 1 - warmup)
    progress = min(1.0, (update - warmup) / span)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))
