"""What became of the chunks."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any


@dataclasses.dataclass
class Count:
    """Of one class of chunks.

    Attributes:
      unsafe: passed, though the oracle finds them unsafe.
      refused: how many by each check, the first where there were several.
      doubted: refused ones that the oracle was asked about.
      needless: those of them that it finds safe with room to spare.
    """

    sent: int = 0
    passed: int = 0
    unsafe: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    doubted: int = 0
    needless: int = 0

    def add(self, other: Count) -> None:
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclasses.dataclass
class Report:
    """Attributes:
    counts: by class; the expert's own chunks are the class ``expert``.
    times: of the gate (s), with the number of waypoints, for each chunk of the expert's that passed.
    trouble: what went wrong, with all that led to it, as plain data; no more than a few of them.
    """

    counts: dict[str, Count] = dataclasses.field(default_factory=dict)
    times: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    trouble: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def count(self, name: str) -> Count:
        return self.counts.setdefault(name, Count())

    def add(self, other: Report) -> None:
        for name, count in other.counts.items():
            self.count(name).add(count)
        self.times += other.times
        self.trouble += other.trouble

    @property
    def sent(self) -> int:
        return sum(count.sent for count in self.counts.values())

    @property
    def total(self) -> Count:
        total = Count()
        for count in self.counts.values():
            total.add(count)
        return total
