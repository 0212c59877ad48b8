"""Chunks of every class, good ones and bad ones. Each function sends some along a line.

The ends of what is drawn are far beyond what an arm can do, and near to every limit from both sides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from robowm.dispatch.arm import ArmObservation, ArmState, Array, Chunk
from robowm.dispatch.fuzz.line import Line
from robowm.dispatch.trajectory import chunk_of, through

ABSURD = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-308, 1e30)


def plan(line: Line, seen: ArmObservation, targets: Array) -> Chunk:
    """A chunk as the loop makes it, that is at each target [H, N] when that is due."""
    step_s = 0.1 if line.spec.acceleration[0] > 20 else 0.3
    path = through(targets, line.gate.path(seen), seen.stamp_s, step_s, step_s / 2, line.spec)
    return chunk_of(path, seen.stamp_s, step_s / 2, "fuzz", line.spec.joints)


def wander(line: Line, seen: ArmObservation, pace: float = 0.5) -> Chunk:
    """A few steps one way, at ``pace`` of the fastest at most."""
    rng, spec = line.rng, line.spec
    n, step_s = len(spec.joints), 0.1 if spec.acceleration[0] > 20 else 0.3
    fastest = np.where(np.isfinite(spec.velocity), spec.velocity, 0.0)
    way = rng.uniform(-1, 1, n) * fastest * step_s * pace * rng.random() ** 2
    targets = line.gate.path(seen).q[0] + np.outer(np.arange(1, rng.integers(2, 7)), way)
    targets[:, -1] = spec.position_high[-1] * (rng.random() < 0.5)
    return plan(line, seen, targets)


def offer(line: Line) -> tuple[Chunk, ArmObservation]:
    """A good chunk: the expert's where the line is still on its way, or one of the same kind."""
    if line.tick is not None:
        return line.tick
    seen = line.observe()
    return wander(line, seen), seen


def stock(line: Line) -> tuple[Chunk, ArmObservation]:
    """A chunk to be broken, which need not have been a good one."""
    if line.tick is not None:
        return line.tick
    seen = line.observe()
    if not line.sent:
        return wander(line, seen), seen
    return dataclasses.replace(line.sent[-1], t0_s=line.now_s), seen


def straight(line: Line, seen: ArmObservation, to: Array, time_s: float) -> Chunk:
    """From rest to rest at ``to`` [N], in joint space."""
    q = np.array([to])
    return Chunk(seen.stamp_s + seen.age_s, time_s, q, np.zeros_like(q), "fuzz", line.spec.joints)


def share(line: Line) -> float:
    """Of a limit: a hair to a third inside it or outside."""
    return 1.0 + line.rng.choice([-1, 1]) * 10 ** line.rng.uniform(-6, -0.5)


def elsewhere(line: Line) -> tuple[Array, Array]:
    """Where the resting arm is, and another place [N] within the limits of its joints."""
    spec, rng = line.spec, line.rng
    here = line.gate.path(line.observe()).q[-1]
    there = rng.uniform(spec.position_low, spec.position_high)
    there[-1] = here[-1]
    return here, there


def good(line: Line) -> None:
    seen = line.observe()
    line.send(wander(line, seen, line.rng.uniform(0.1, 1.0)), seen)


def unchanged(line: Line) -> None:
    """What is followed already, or its end."""
    seen = line.observe()
    dt_s = line.rng.choice([0.01, 0.05, 0.1])
    chunk = chunk_of(line.gate.path(seen), seen.stamp_s, dt_s, "fuzz", line.spec.joints)
    line.send(chunk, seen)


def mutated(line: Line) -> None:
    """A good chunk, changed in one way or two."""
    chunk, seen = offer(line)
    for _ in range(line.rng.integers(1, 3)):
        chunk = MUTATIONS[line.rng.integers(len(MUTATIONS))](chunk, line.rng)
    line.send(chunk, seen)


def random(line: Line) -> None:
    """Waypoints near where it is, with any speeds."""
    rng, n = line.rng, len(line.spec.joints)
    seen = line.observe()
    h, spread = rng.integers(1, 9), 10 ** rng.uniform(-4, 0.5)
    q = line.gate.path(seen).q[0] + spread * rng.uniform(-1, 1, (h, n))
    q[:, -1] = np.clip(q[:, -1], 0.0, line.spec.position_high[-1])
    dq = rng.choice([0.0, 1.0]) * spread * rng.uniform(-3, 3, (h, n))
    dq[-1] = 0.0
    dt_s = 10 ** rng.uniform(-3, 0.3)
    line.send(Chunk(line.now_s, dt_s, q, dq, "fuzz", line.spec.joints), seen)


def extreme(line: Line) -> None:
    """A few numbers, or all of them, of any magnitude."""
    rng, (chunk, seen) = line.rng, stock(line)
    q, dq = chunk.q.copy(), chunk.dq.copy()
    for array in (q, dq[:-1]):
        which = rng.random(array.shape) < rng.choice([0.0, 0.05, 1.0])
        size = 10 ** rng.uniform(-300, 300, array.shape)
        array[which] = (rng.choice([-1, 1], array.shape) * size)[which]
    dt_s = 10 ** rng.uniform(-300, 300) if rng.random() < 0.2 else chunk.dt_s
    t0_s = chunk.t0_s + (10 ** rng.uniform(-12, 18) if rng.random() < 0.2 else 0.0)
    line.send(dataclasses.replace(chunk, q=q, dq=dq, dt_s=dt_s, t0_s=t0_s), seen)


def malformed(line: Line) -> None:
    """Of the wrong names, shapes, types and times, without numbers, or not coming to rest."""
    rng, (chunk, seen) = line.rng, stock(line)
    n, h = len(chunk.joints), len(chunk.q)
    q, dq = chunk.q.copy(), chunk.dq.copy()
    i, j = rng.integers(h), rng.integers(n)
    absurd = ABSURD[rng.integers(len(ABSURD))]
    changes: dict[str, Any] = {}
    match rng.integers(14):
        case 0:
            changes["joints"] = tuple(rng.permutation(chunk.joints).tolist())
        case 1:
            changes["joints"] = chunk.joints[: rng.integers(n)]
        case 2:
            changes["q"] = q[:, : rng.integers(n)]
        case 3:
            changes["dq"] = dq[: rng.integers(h)]
        case 4:
            changes |= {"q": q[:0], "dq": dq[:0]}
        case 5:
            changes["q"] = q.ravel()
        case 6:
            q[i, j] = absurd
            changes["q"] = q
        case 7:
            dq[i, j] = absurd
            changes["dq"] = dq
        case 8:
            changes["dt_s"] = [0.0, -chunk.dt_s, absurd][rng.integers(3)]
        case 9:
            changes["t0_s"] = absurd
        case 10:
            dq[-1, rng.integers(n - 1)] = rng.choice([-1, 1]) * 10 ** rng.uniform(-9, 1)
            changes["dq"] = dq
        case 11:
            changes |= {"q": q[None], "dq": dq[None]}
        case 12:
            changes["q"] = q.astype(complex)
        case 13:
            broken: dict[str, Any] = {
                "q": np.full(n, absurd), "dq": np.full(n, absurd), "stamp_s": absurd, "age_s": absurd,
            }  # fmt: skip
            name = list(broken)[rng.integers(4)]
            seen = dataclasses.replace(seen, **{name: broken[name]})
    line.send(dataclasses.replace(chunk, **changes), seen)


def late(line: Line) -> None:
    """Planned some time ago, on the way since."""
    chunk, _ = offer(line)
    line.wait(line.rng.choice([0.5, 0.1, 0.03]) * line.rng.random())
    line.send(chunk, line.observe(age_s=line.rng.choice([0.0, 0.05])))


def early(line: Line) -> None:
    """For later, or so it says."""
    chunk, seen = offer(line)
    by_s = line.rng.choice([0.05, 0.5, 6.0]) * line.rng.random()
    line.send(dataclasses.replace(chunk, t0_s=chunk.t0_s + by_s), seen)


def contradictory(line: Line) -> None:
    """One way and at once the other; or both in one chunk."""
    rng = line.rng
    chunk, seen = offer(line)
    if rng.random() < 0.5:
        q = chunk.q.copy()
        q[::2, :-1] += rng.choice([-1, 1], q.shape[1] - 1) * 10 ** rng.uniform(-4, 0)
        line.send(dataclasses.replace(chunk, q=q), seen)
        return
    before = line.gate.path(seen).q[0]
    other = dataclasses.replace(chunk, q=2 * before - chunk.q, dq=-chunk.dq)
    other.q[:, -1] = chunk.q[:, -1]
    line.send(chunk, seen)
    line.wait(rng.choice([0.0, 0.002, 0.05]))
    line.send(dataclasses.replace(other, t0_s=line.now_s), line.observe())


def grazing(line: Line) -> None:
    """From rest to rest, a hair to a third inside of one limit or outside."""
    rng, spec = line.rng, line.spec
    line.settle()
    part, j = share(line), rng.integers(len(spec.joints) - 1)
    seen = line.observe()
    here = line.gate.path(seen).q[-1]
    way, time_s = np.zeros_like(here), rng.uniform(0.05, 0.6)
    match rng.integers(4):
        case 0:  # 1.5 way / time is the speed half way
            time_s += 4 * spec.velocity[j] / spec.acceleration[j]
            way[j] = part * spec.velocity[j] * time_s / 1.5
        case 1:  # 6 way / time^2 the acceleration at both ends, which comes within a sample
            time_s *= 6 * spec.velocity[j] / spec.acceleration[j]
            most = min(spec.acceleration[j], spec.jerk[j] / spec.servo_hz)
            way[j] = part * most * time_s**2 / 6
        case 2:
            j = rng.integers(4, len(here) - 1)  # the wrist, which moves the tool little
            low, high, time_s = spec.position_low[j], spec.position_high[j], 2.9
            border = high if rng.random() < 0.5 else low
            middle = (low + high) / 2
            way[j] = middle + part * (border - middle) - here[j]
        case 3:
            time_s = 3.0 * part
    way[:-1] *= 1 if rng.random() < 0.5 or time_s > 2 else -1
    line.send(straight(line, seen, here + way, time_s), seen)


def bordering(line: Line) -> None:
    """To a hair this side of where the tool leaves its workspace or something touches, or beyond."""
    line.settle()
    here, there = elsewhere(line)
    low, high = np.array(line.spec.workspace_low), np.array(line.spec.workspace_high)
    clearance = line.gate.config.clearance_m

    def room(part: float) -> float:
        tool, distance, _ = line.gate.body.look(here + part * (there - here))
        return float(min((tool - low).min(), (high - tool).min(), distance)) - clearance

    inside, outside = 0.0, 1.0
    for _ in range(10):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if room(middle) >= 0 else (inside, middle)
    seen = line.observe()
    to = here + inside * share(line) * (there - here)
    line.send(straight(line, seen, to, line.rng.uniform(1.0, 2.9)), seen)


def colliding(line: Line) -> None:
    """Down onto the table, or to any place at all, slowly."""
    line.settle()
    here, there = elsewhere(line)
    if line.rng.random() < 0.5:
        there = here.copy()
        there[[1, 3]] += line.rng.uniform(0.0, 0.8, 2)
        there[4:7] += line.rng.uniform(-1.0, 1.0, 3)
    seen = line.observe()
    line.send(straight(line, seen, there, line.rng.uniform(1.0, 2.9)), seen)


def reordered(line: Line) -> None:
    """Two chunks that overtake each other, or one that comes again."""
    rng = line.rng
    if line.sent and rng.random() < 0.3:
        line.send(line.sent[rng.integers(len(line.sent))], line.observe())
        return
    first, _ = offer(line)
    line.wait(rng.choice([0.0, 0.05, 0.1]))
    later = line.observe()
    second = wander(line, later)
    line.send(second, later)
    line.send(first, line.observe())


def stale(line: Line) -> None:
    """On an observation that is old, and then on others that are less so."""
    period_s = 1 / line.spec.rate_hz
    for periods in line.rng.choice([0.5, 1.9, 2.1, 3.0, 4.9, 5.1, 8.0], 3):
        chunk = wander(line, line.observe())
        line.send(chunk, line.observe(age_s=periods * period_s))
        line.wait(0.02)


def stopped(line: Line) -> None:
    """While the arm may not move, and after."""
    chunk, seen = offer(line)
    no = [ArmState.STOPPED, ArmState.DISCONNECTED, "stopped", "fault"][line.rng.integers(4)]
    line.send(chunk, seen, no)
    line.wait(0.1)
    again = line.observe()
    line.send(chunk if line.rng.random() < 0.5 else wander(line, again), again)


def held(line: Line) -> None:
    """A hold in between."""
    chunk, seen = offer(line)
    if line.rng.random() < 0.5:
        line.send(chunk, seen)
        line.wait(0.05)
    line.hold(line.observe())
    if line.rng.random() < 0.3:
        line.send(chunk, line.observe())
    line.wait(line.rng.choice([0.0, 0.02, 0.1]))
    again = line.observe()
    line.send(wander(line, again), again)


def pushed(line: Line) -> None:
    chunk, seen = offer(line)
    force = line.rng.normal(size=3)
    force *= share(line) * line.spec.force_n / np.linalg.norm(force)
    wrench = np.append(force, line.rng.normal(size=3))
    if line.rng.random() < 0.1:
        wrench[line.rng.integers(3)] = np.nan
    line.send(chunk, dataclasses.replace(seen, wrench=wrench))


def displaced(line: Line) -> None:
    """The arm is not quite where it was commanded, or not at all."""
    chunk, seen = offer(line)
    off = np.zeros(len(seen.q))
    tolerance = line.gate.config.tracking_tolerance
    off[line.rng.integers(len(off) - 1)] = line.rng.choice([-1, 1]) * share(line) * tolerance
    line.send(chunk, dataclasses.replace(seen, q=seen.q + off))


def moving(line: Line) -> None:
    """Before anything is followed, an arm that does not rest."""
    line.restart()
    dq = np.zeros(len(line.spec.joints))
    speed = share(line) * line.gate.config.rest_speed
    dq[line.rng.integers(len(dq) - 1)] = line.rng.choice([-1, 1]) * speed
    seen = line.observe(dq=dq)
    line.send(wander(line, seen), seen)


def backwards(line: Line) -> None:
    """On an observation from before the last one."""
    chunk, seen = offer(line)
    line.send(chunk, seen)
    before = line.observe(line.now_s - line.rng.choice([1e-4, 0.05, 0.3]))
    back = dataclasses.replace(wander(line, before), t0_s=line.now_s)
    line.send(back, before)


def _noise_q(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    noise = 10 ** rng.uniform(-7, -0.5) * rng.uniform(-1, 1, chunk.q.shape)
    noise[:, -1] = 0.0
    return dataclasses.replace(chunk, q=chunk.q + noise)


def _noise_dq(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    dq = chunk.dq + 10 ** rng.uniform(-7, 0.5) * rng.uniform(-1, 1, chunk.q.shape)
    dq[-1] = 0.0
    return dataclasses.replace(chunk, dq=dq)


def _scaled(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    by = rng.uniform(-1, 2)
    q = chunk.q[0] + by * (chunk.q - chunk.q[0])
    q[:, -1] = chunk.q[:, -1]
    return dataclasses.replace(chunk, q=q, dq=by * chunk.dq)


def _stretched(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    by = rng.uniform(0.3, 3)
    return dataclasses.replace(chunk, dt_s=by * chunk.dt_s, dq=chunk.dq / by)


def _paced(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    return dataclasses.replace(chunk, dt_s=rng.uniform(0.3, 2) * chunk.dt_s)


def _swapped(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    order = rng.permutation(len(chunk.q))
    return dataclasses.replace(chunk, q=chunk.q[order])


def _without(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    if len(chunk.q) < 2:
        return chunk
    gone = rng.integers(len(chunk.q))
    dq = np.delete(chunk.dq, gone, 0)
    dq[-1] = 0.0
    return dataclasses.replace(chunk, q=np.delete(chunk.q, gone, 0), dq=dq)


def _twice(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    rows = np.sort(np.append(np.arange(len(chunk.q)), rng.integers(len(chunk.q))))
    return dataclasses.replace(chunk, q=chunk.q[rows], dq=chunk.dq[rows])


def _backwards(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    return dataclasses.replace(chunk, dq=-chunk.dq)


def _rounded(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    kind = [np.float32, np.float16][rng.integers(2)]
    return dataclasses.replace(
        chunk, q=chunk.q.astype(kind).astype(float), dq=chunk.dq.astype(kind).astype(float)
    )


def _gripping(chunk: Chunk, rng: np.random.Generator) -> Chunk:
    q = chunk.q.copy()
    q[:, -1] = rng.choice([0.0, 0.04, 0.08, -0.001, 0.09], len(q))
    return dataclasses.replace(chunk, q=q)


MUTATIONS: tuple[Callable[[Chunk, np.random.Generator], Chunk], ...] = (
    _noise_q, _noise_dq, _scaled, _stretched, _paced, _swapped, _without, _twice, _backwards, _rounded,
    _gripping,
)  # fmt: skip

# How often each is drawn. Bad ones are the most, good ones enough to come to places that are new.
CLASSES: dict[Callable[[Line], None], float] = {
    good: 6, unchanged: 2, mutated: 20, random: 40, extreme: 140, malformed: 220, late: 6, early: 4,
    contradictory: 6, grazing: 12, bordering: 5, colliding: 8, reordered: 5, stale: 4, stopped: 5,
    held: 3, pushed: 5, displaced: 6, moving: 3, backwards: 4,
}  # fmt: skip
