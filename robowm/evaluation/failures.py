"""Why episodes failed: the first thing that was missing on the way to success."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robowm.evaluation.rollout import EpisodeResult


def cause(result: EpisodeResult) -> str | None:
    """One of a few phrases, None of a success. What a task does not tell of is no cause."""
    if result.success:
        return None
    if result.entered:
        return "entered what is kept out of"
    if result.out_of_order:
        return "out of order"
    if result.grasped is False:
        return "never grasped"
    if result.position_fits and result.rotation_fits:
        return "in place, but not let go or not at rest"
    if result.dropped:
        return "dropped"
    if result.lifted is False:
        return "never lifted"
    if result.rotation_fits:
        return "off its place"
    if result.position_fits:
        return "turned wrong"
    return "off its place and turned wrong"


def causes(results: Iterable[EpisodeResult]) -> dict[str, int]:
    """How many failures have which cause, the most frequent first."""
    return dict(Counter(said for r in results if (said := cause(r)) is not None).most_common())
