"""A fuzzer of the safety gate: chunks of every class, judged a second time by who shares no code with it.

An episode that an expert drove is driven again. Before each of its chunks, copies of the gate go ways of
their own: they are sent a few chunks, good ones and bad ones, and follow what they accept. An oracle says
of whatever passed whether it is safe, and of some of what was refused, whether that was needless.

The arm's twin and the oracle are handed in, as both know a simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from robowm.dispatch.arm import ArmSpec
from robowm.dispatch.fuzz.classes import CLASSES
from robowm.dispatch.fuzz.line import Line, Oracle
from robowm.dispatch.fuzz.recording import Recording
from robowm.dispatch.fuzz.report import Count, Report
from robowm.dispatch.safety import Body, SafetyConfig, SafetyGate

LONGEST = 4  # classes in a row on one way
EPOCH_S = 1.7e9  # what a clock shows that counts from 1970
DOUBT = 0.02  # share of what is refused that the oracle is asked about

MakeOracle = Callable[[ArmSpec, SafetyConfig], Oracle]
MakeGate = Callable[[SafetyConfig, ArmSpec, Body], SafetyGate]


def run(
    recordings: Sequence[Recording],
    make_body: Callable[[], Body],
    make_oracle: MakeOracle,
    chunks: int,
    seed: int | Sequence[int],
    make_gate: MakeGate = SafetyGate,
    progress: Callable[[Report], object] = lambda report: None,
) -> Report:
    """Send ``chunks`` chunks, and some more until the last way is at its end. The same arguments give the
    same chunks.

    Args:
      progress: told now and then how far it has come.
    """
    rng, config, body, report = np.random.default_rng(seed), SafetyConfig(), make_body(), Report()
    variants = [
        variant
        for recording in recordings
        for variant in (
            recording,
            recording.slowed(),
            recording.unbounded(),
            recording.later(EPOCH_S),
        )
    ]
    ticks = sum(len(variant.ticks) for variant in variants)
    ways = max(1, round(chunks / ticks / 3))  # a tick; a way is about three chunks
    for which in _for_ever(len(variants), rng):
        variant = variants[which]
        gate = make_gate(config, variant.spec, body)
        line = Line(gate, make_oracle(variant.spec, config), report, DOUBT, rng)
        for chunk, seen in variant.ticks:
            line.now_s, line.resting = seen.stamp_s + seen.age_s, seen.q
            for _ in range(ways):
                fork = line.fork()
                fork.tick = (chunk, seen)
                wander_off(fork, rng)
                if report.sent >= chunks:
                    return report
            line.send(chunk, seen)
        progress(report)
    raise AssertionError("there is always another episode")


def wander_off(line: Line, rng: np.random.Generator) -> None:
    """A few classes, one after the other, and some time between them."""
    for _ in range(rng.integers(1, LONGEST + 1)):
        which = _DRAWN[int(np.searchsorted(_SUMS, rng.random()))]
        line.name = which.__name__
        which(line)
        line.wait(_PAUSES_S[rng.integers(len(_PAUSES_S))])


_DRAWN = list(CLASSES)
_SUMS = np.cumsum(list(CLASSES.values())) / sum(CLASSES.values())
_PAUSES_S = (0.0, 0.02, 0.05, 0.1, 0.1, 0.1, 0.37)


def _for_ever(n: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(n)


__all__ = ["CLASSES", "Count", "Line", "Oracle", "Recording", "Report", "run"]
