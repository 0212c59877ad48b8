"""The turns of the synchronous loop (:mod:`robowm.dispatch.loop`) told as the records of a run."""

from __future__ import annotations

import collections
import json
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robowm.dispatch.arm import ArmObservation
from robowm.dispatch.loop import Episode, LoopConfig, Tick
from robowm.dispatch.records import (
    Event,
    Executed,
    Judged,
    Kind,
    Listener,
    Observed,
    Planned,
    Sent,
    plain,
)


class TickListener:
    """Tells ``listener`` of each turn, as ``on_tick`` of :func:`robowm.dispatch.loop.run`.

    Args:
      config: of the loop.
      still: [A] what is done until the first action begins.
    """

    def __init__(self, listener: Listener, config: LoopConfig, still: NDArray[np.float32]):
        self._tell, self._config = listener, config
        self._committed = collections.deque([still] * config.lead_steps)

    def __call__(self, tick: Tick) -> None:
        tell, stamp_s, step = self._tell, tick.observation.stamp_s, tick.index
        tell(Observed(_seen_s(tick.observation), tick.observation, step))
        now_s = time.time()
        if (plan := tick.plan) is not None:
            lead = self._config.lead_steps
            tell(
                Planned(
                    wall_s=now_s,
                    stamp_s=stamp_s,
                    plan_id=tick.chunk.plan_id,
                    step=step,
                    lead_steps=lead,
                    action=np.array(tick.action, np.float32),
                    sequence=plan.sequence[0].float().cpu().numpy(),
                    value=float(plan.value[0]),
                    success=float(plan.success[0]),
                    trusted_steps=int(plan.trusted_steps[0]),
                    epistemic=plan.epistemic[0].float().cpu().numpy(),
                    planning_ms=plan.planning_time_ms,
                    latency_s=tick.act_ms / 1e3,
                )
            )
        tell(Judged(now_s, stamp_s, tick.chunk, tick.decision))
        if tick.decision.accepted:
            tell(Sent(now_s, stamp_s, tick.chunk, tick.receipt))
        if not tick.receipt.accepted:
            tell(Event(now_s, stamp_s, Kind.HOLD, tick.receipt.reason, tick.chunk.plan_id))
        self._committed.append(tick.executed)
        done = np.array(self._committed.popleft(), np.float32)
        tell(Executed(now_s, stamp_s, step, done))

    def end(self, episode: Episode, result: Mapping[str, Any] | None = None) -> None:
        """The last observation, how it ended, and what the task says of it."""
        final, steps = episode.final, len(episode.ticks)
        before_s = episode.ticks[-1].observation.stamp_s if steps else -math.inf
        # Where it was ended at once, the last action was never done.
        stepped = final.stamp_s > before_s + self._config.step_s / 2
        self._tell(Observed(_seen_s(final), final, steps if stepped else None))
        now_s = time.time()
        self._tell(Event(now_s, final.stamp_s, Kind.STATE, f"ended: {episode.ended}"))
        if result is not None:
            words = json.dumps(plain(result), allow_nan=False)
            self._tell(Event(now_s, final.stamp_s, Kind.RESULT, words))


def _seen_s(observation: ArmObservation) -> float:
    """When it came, as seconds since the epoch."""
    return time.time() - (time.monotonic() - observation.received_s)
