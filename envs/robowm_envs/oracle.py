"""A second opinion on which joint motion is safe, to hold a safety gate to.

It shares no code with the gate: curves are Bezier polygons that are sampled every millisecond; speed,
acceleration and jerk are differences of those samples; bodies touch where MuJoCo finds contacts in a model
of its own. Differences of samples are means, so they never claim more than the curve reaches.

What it calls unsafe is beyond a limit by more than these tolerances: what a drive cannot tell.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np

from robowm_envs import scene

SAMPLE_S = 0.001
POSITION_RAD = 1e-6
SHARE = 3e-3  # of a velocity, acceleration or jerk limit; the gate's own slack is 1e-3
FORCE_N = 1e-6
TIME_S = 1e-5
MEMORY_S = 2.0  # no observation is as late as this
TOUCH_M = 1e-4  # by which links may overlap
FINGERTIP_M = 5e-4  # by which fingers may be in the table
LOOK_M = 0.002  # poses between which nothing moves further than this need not be told apart
SIGHT_M = 0.06
CLEAR_M = 0.006  # with no more than this left, a refusal is no surprise
CLEAR = 0.01  # the same, of other limits as shares of them


TOLERANCES = {
    "velocity": SHARE, "acceleration": SHARE, "jerk": SHARE, "position": POSITION_RAD, "tracking": 1e-6,
    "force": FORCE_N, "workspace": 1e-6, "order": TIME_S, "future": TIME_S, "duration": 1e-6,
    "moving": 1e-6,
}  # fmt: skip
ROOM = {
    "velocity": CLEAR, "acceleration": CLEAR, "jerk": CLEAR, "position": 1e-3, "tracking": CLEAR,
    "force": 0.1, "workspace": CLEAR_M, "collision": CLEAR_M - 1e-9,
}  # fmt: skip


class Oracle:
    """Knows what an arm follows, as it is told, and judges what it shall follow next.

    Chunks and observations are those of ``robowm.dispatch.arm``, which is not known here.

    Args:
      limits: an ``ArmSpec`` of the same: joints, limits, workspace, rates.
      rules: a ``SafetyConfig`` of the gate's: the rest of what is promised.
    """

    def __init__(self, limits: Any, rules: Any, arm: str = "panda"):
        self._limits, self._rules = limits, rules
        self._low, self._high = np.array(limits.position_low), np.array(limits.position_high)
        self._fastest = np.array(limits.velocity)
        self._driven = np.isfinite(self._fastest)
        self._bodies = _bodies(arm)
        # Pieces (from s, to s, polygon [4, N]) one after the other; the arm rests after the last.
        self._track: tuple[tuple[float, float, np.ndarray], ...] = ()
        self._newest_s = self._told_s = -np.inf
        self._stale = False

    def fork(self) -> Oracle:
        """One that goes on alone."""
        return copy.copy(self)  # what changes is replaced, never changed in place

    @property
    def follows(self) -> bool:
        return bool(self._track)

    @property
    def end_s(self) -> float:
        """When the arm is at rest."""
        return self._track[-1][1]

    def position(self, time_s: float, after_s: Any = 0.0) -> np.ndarray:
        """[..., N] at ``time_s + after_s``, at rest before and after what is followed. Small steps are kept
        apart from the time: a clock that counts from 1970 has none smaller than 2e-7 s."""
        offsets = np.asarray(after_s, float)
        starts, ends = np.array([piece[:2] for piece in self._track]).T - time_s
        piece = np.minimum(np.searchsorted(ends, offsets, side="right"), len(ends) - 1)
        lengths = (ends - starts)[piece]
        u = (offsets - starts[piece]) / np.where(lengths > 0, lengths, 1.0)
        u = np.minimum(np.maximum(u, 0.0), 1.0)[..., None]
        polygons = np.array([polygon for _, _, polygon in self._track])[piece]
        a, b, c, d = (polygons[..., i, :] for i in range(4))
        ab, bc, cd = a + u * (b - a), b + u * (c - b), c + u * (d - c)
        abc, bcd = ab + u * (bc - ab), bc + u * (cd - bc)
        return abc + u * (bcd - abc)

    def state(self, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity [N], the latter from then on."""
        return self._state(self._track, time_s)

    def watch(self, observation: Any) -> bool:
        """Whether observations come too late, hysteresis included; to be told each."""
        rules, age = self._rules, observation.age_s
        periods = rules.fresh_periods if self._stale else rules.stale_periods
        self._stale = not (-TIME_S <= age <= periods / self._limits.rate_hz + TIME_S)
        return self._stale

    def follow(self, chunk: Any, observation: Any) -> None:
        """The chunk was sent."""
        now = observation.stamp_s + observation.age_s
        self._track = self._spliced(chunk, observation)
        self._newest_s, self._told_s = chunk.t0_s, now

    def hold(self, observation: Any) -> None:
        """The arm brakes evenly at half of its acceleration, every joint as long as the slowest."""
        now = observation.stamp_s + observation.age_s
        track = self._known(observation)
        q, dq = self._state(track, now)
        spans = [abs(v) / (0.5 * a) for v, a in zip(dq, self._limits.acceleration, strict=True)]
        brake = max(spans)
        polygon = np.stack([q, q + dq * brake / 3, q + dq * brake / 2, q + dq * brake / 2])
        self._track = (*_until(track, now), (now, now + brake, polygon))
        self._newest_s, self._told_s = max(self._newest_s, observation.stamp_s), now

    def stop(self) -> None:
        """The arm was stopped: what it followed is over."""
        self._track = ()

    def reset(self) -> None:
        """The arm is at rest, and nothing that was told counts any more."""
        self._track, self._stale = (), False
        self._newest_s = self._told_s = -np.inf

    def judge(
        self, chunk: Any, observation: Any, movable: bool, stale: bool
    ) -> tuple[list[str], bool]:
        """Names of the rules that following the chunk would break beyond doubt; and whether it would keep
        every rule with room to spare.

        Args:
          movable: whether the arm is in a state to be moved.
          stale: what :meth:`watch` says of the observation.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # absurd numbers, too
            excess = self.excess(chunk, observation, movable, stale)
        broken = [name for name, x in excess.items() if not x <= TOLERANCES.get(name, 0.0)]
        clear = all(x <= -ROOM.get(name, 0.0) for name, x in excess.items())
        return broken, clear and "collision" in excess

    def excess(self, chunk: Any, observation: Any, movable: bool, stale: bool) -> dict[str, float]:
        """By how much (as a share, or in SI units) following the chunk would break each rule: negative
        what is left. Rules that come after a broken form are not come to."""
        form = self._form(chunk, observation)
        form["state"] = -1.0 if movable else 1.0
        form["age"] = 1.0 if stale else -1.0
        if any(form[name] > 0 for name in ("joints", "shape", "finite", "measured", "times")):
            return form
        rules = self._rules
        now = observation.stamp_s + observation.age_s
        end = chunk.t0_s + len(chunk.q) * chunk.dt_s
        form["end"] = float(np.abs(chunk.dq[-1]).max()) or -1.0
        form["duration"] = len(chunk.q) * chunk.dt_s / rules.max_duration_s - 1
        form["order"] = self._newest_s - chunk.t0_s
        form["clock"] = self._told_s - now - TIME_S
        form["future"] = chunk.t0_s - now - rules.max_duration_s
        if end <= now + 1e-9 or any(form[name] > 0 for name in ("duration", "future", "clock")):
            return form
        measured = np.abs(observation.dq)[self._driven].max()
        form["moving"] = -1.0 if self.follows else measured / rules.rest_speed - 1
        off = np.abs(observation.q - self._state(self._known(observation), observation.stamp_s)[0])
        form["tracking"] = off[self._driven].max() / rules.tracking_tolerance - 1
        force = 0.0 if observation.wrench is None else np.linalg.norm(observation.wrench[:3])
        form["force"] = float(force) - self._limits.force_n
        return form | self._motion(chunk, observation)

    def _form(self, chunk: Any, observation: Any) -> dict[str, float]:
        n = len(self._limits.joints)
        arrays = (chunk.q, chunk.dq)
        shaped = chunk.q.shape == chunk.dq.shape and chunk.q.ndim == 2
        shaped = shaped and chunk.q.shape[1] == n and chunk.q.shape[0] > 0
        shaped = shaped and not any(map(np.iscomplexobj, arrays))
        seen = (observation.q, observation.dq)
        times = (chunk.t0_s, chunk.dt_s, observation.stamp_s, observation.age_s)
        ok = {
            "joints": list(chunk.joints) == list(self._limits.joints),
            "shape": shaped,
            "finite": all(np.abs(array).max(initial=0.0) < np.inf for array in arrays),
            "measured": all(len(array) == n and np.abs(array).max() < np.inf for array in seen),
            "times": all(abs(t) < np.inf for t in times) and chunk.dt_s > 0,
        }
        return {name: -1.0 if value else 1.0 for name, value in ok.items()}

    def _motion(self, chunk: Any, observation: Any) -> dict[str, float]:
        """Along what would be followed, from just before it."""
        now = observation.stamp_s + observation.age_s
        before = self._track
        self._track = self._spliced(chunk, observation)
        try:
            count = max(1, int(np.ceil((self.end_s - now) / SAMPLE_S)) + 5)
            q = self.position(now, SAMPLE_S * np.arange(-4, count))
        finally:
            self._track = before
        limits, driven = self._limits, self._driven
        if not np.abs(q).max() < 1e6:
            return {"position": np.inf}
        coming = q[4:]
        beyond = np.maximum(self._low - coming, coming - self._high).max(0)
        # A drive that limits itself is told its targets alone, and lives at its end stops.
        told = np.maximum(self._low - chunk.q, chunk.q - self._high).max(0)
        beyond = np.where(driven, beyond, np.where(told > 0, told, -np.inf))
        stride = max(1, round(1 / (limits.servo_hz * SAMPLE_S)))
        servo = np.stack([q[i : len(q) - 3 * stride + i] for i in stride * np.arange(4)])
        third = (servo[3] - 3 * servo[2] + 3 * servo[1] - servo[0]) / (stride * SAMPLE_S) ** 3
        worst = {
            "velocity": np.diff(q, axis=0) / SAMPLE_S,
            "acceleration": np.diff(q, 2, axis=0) / SAMPLE_S**2,
            "jerk": third,
        }
        found = {
            name: float((np.abs(value)[:, driven] / np.array(getattr(limits, name))[driven]).max())
            - 1
            for name, value in worst.items()
        }
        found["position"] = float(beyond.max())
        return found | self._bodies.excess(
            coming, np.array([limits.workspace_low, limits.workspace_high])
        )

    def _known(self, observation: Any) -> tuple[tuple[float, float, np.ndarray], ...]:
        if self._track:
            return self._track
        return ((observation.stamp_s, observation.stamp_s, np.stack([observation.q] * 4)),)

    def _state(self, track: Any, time_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity [N] on a track, from the piece that begins or goes on then."""
        following = (piece for piece in track if time_s < piece[1])
        start, end, (a, b, c, d) = next(following, track[-1])
        if not start <= time_s < end:
            return (d if time_s >= end else a), np.zeros_like(a)
        u = (time_s - start) / (end - start)
        q = (1 - u) ** 3 * a + 3 * u * (1 - u) ** 2 * b + 3 * u**2 * (1 - u) * c + u**3 * d
        tangent = (1 - u) ** 2 * (b - a) + 2 * u * (1 - u) * (c - b) + u**2 * (d - c)
        return q, 3 * tangent / (end - start)

    def _spliced(self, chunk: Any, observation: Any) -> tuple[tuple[float, float, np.ndarray], ...]:
        """From where the arm is now to each waypoint that is not past, when that is due."""
        now = observation.stamp_s + observation.age_s
        track = self._known(observation)
        time, (q, dq) = now, self._state(track, now)
        pieces = []
        for h in range(len(chunk.q)):
            due = chunk.t0_s + (h + 1) * chunk.dt_s
            if due - now <= 1e-9:
                continue
            third = (due - time) / 3
            polygon = np.stack([q, q + third * dq, chunk.q[h] - third * chunk.dq[h], chunk.q[h]])
            pieces.append((time, due, polygon))
            time, q, dq = due, chunk.q[h], chunk.dq[h]
        return (*_until(track, now), *pieces) if pieces else track


class Bodies:
    """The arm over its table in a MuJoCo model of its own."""

    def __init__(self, arm: str = "panda"):
        built = scene.build(arm, marker="none")
        self._model = model = built.spec.compile()
        self._data = mujoco.MjData(model)
        self._arm = [model.joint(name).qposadr[0] for name in built.arm.joints]
        self._fingers = [model.joint(name).qposadr[0] for name in built.arm.fingers]
        self._tcp = model.site(built.arm.tcp).id
        self._table = model.geom("table").id
        tips = {int(model.jnt_bodyid[model.joint(name).id]) for name in built.arm.fingers}
        solid = [g for g in range(model.ngeom) if model.geom_contype[g] and g != self._table]
        parent = model.body_parentid
        base = min(int(model.geom_bodyid[g]) for g in solid)  # it stands there for good
        self._allowed: dict[tuple[int, int], float] = {}  # overlap (m) of each pair that matters
        for i, a in enumerate(solid):
            one = int(model.geom_bodyid[a])
            if one != base:
                self._allowed[a, self._table] = FINGERTIP_M if one in tips else TOUCH_M
            for b in solid[i + 1 :]:
                two = int(model.geom_bodyid[b])
                if one in tips and two in tips:  # they meet where the hand closes
                    continue
                if one != two and one != parent[two] and two != parent[one]:
                    self._allowed[a, b] = TOUCH_M
        self._listed = list(self._allowed.items())
        self._pairs = np.array([pair for pair, _ in self._listed]).T
        self._near_m2 = (model.geom_rbound[self._pairs].sum(0) + SIGHT_M) ** 2
        # Every pair collides here, whatever the scene's own bits say.
        for g in (*solid, self._table):
            model.geom_contype[g] = model.geom_conaffinity[g] = 1
        model.geom_margin[:] = 0.0
        self._radius_m = self._radii(built.arm.joints, solid)

    def excess(self, q: np.ndarray, workspace: np.ndarray) -> dict[str, float]:
        """How far (m) the tool leaves the workspace [2, 3] and bodies overlap beyond what they may, along
        joint positions [S, N]; negative what is left, of overlaps CLEAR_M at most."""
        way = np.append(0.0, np.cumsum(np.abs(np.diff(q, axis=0)) @ self._radius_m))
        tool, overlap, i = -np.inf, -CLEAR_M, 0
        while True:
            self._place(q[i])
            point = self._data.site_xpos[self._tcp]
            outside = float(np.maximum(workspace[0] - point, point - workspace[1]).max())
            inside_each_other = self._overlap()
            tool, overlap = max(tool, outside), max(overlap, inside_each_other)
            if i == len(q) - 1:
                return {"workspace": tool, "collision": overlap}
            # Something must move this far before anything can have come to where it may not be.
            left = max(-max(outside, inside_each_other), LOOK_M)
            i = max(i + 1, int(np.searchsorted(way, way[i] + left, side="right")) - 1)

    def _radii(self, joints: Sequence[str], solid: Sequence[int]) -> np.ndarray:
        """[N] how far from each joint anything was that it moves, in very many poses, and a tenth more."""
        model, data, rng = self._model, self._data, np.random.default_rng(0)
        moves = []  # for each joint the bodies behind it
        for name in joints:
            behind = {int(model.joint(name).bodyid[0])}
            for body in range(model.nbody):
                if int(model.body_parentid[body]) in behind:
                    behind.add(body)
            moves.append([g for g in solid if int(model.geom_bodyid[g]) in behind])
        numbers = [model.joint(name).id for name in joints]
        low, high = model.jnt_range[numbers].T
        furthest = np.zeros(len(joints))
        for _ in range(500):
            self._place(np.append(rng.uniform(low, high), 0.08))
            for j, (number, geoms) in enumerate(zip(numbers, moves, strict=True)):
                away = np.linalg.norm(data.geom_xpos[geoms] - data.xanchor[number], axis=1)
                furthest[j] = max(furthest[j], (away + model.geom_rbound[geoms]).max())
        return np.append(1.1 * furthest, 0.5)

    def _place(self, q: np.ndarray) -> None:
        self._data.qpos[self._arm] = q[:-1]
        self._data.qpos[self._fingers] = min(max(q[-1], 0.0), 0.08) / 2
        mujoco.mj_kinematics(self._model, self._data)

    def _overlap(self) -> float:
        """By the contacts that MuJoCo finds and by the distance of every pair that is near at all."""
        model, data, worst = self._model, self._data, -SIGHT_M
        mujoco.mj_collision(model, data)
        for (a, b), distance in zip(data.contact.geom.tolist(), data.contact.dist, strict=True):
            allowed = self._allowed.get((a, b), self._allowed.get((b, a)))
            if allowed is not None:
                worst = max(worst, -float(distance) - allowed)
        for (a, b), allowed in self._near():
            distance = mujoco.mj_geomDistance(model, data, a, b, SIGHT_M, None)
            worst = max(worst, -float(distance) - allowed)
        return worst

    def _near(self) -> Sequence[tuple[tuple[int, int], float]]:
        """Pairs whose bounding spheres come within reach of each other."""
        a, b = self._pairs
        apart = self._data.geom_xpos[a] - self._data.geom_xpos[b]
        near = np.flatnonzero(np.einsum("ij,ij->i", apart, apart) < self._near_m2)
        return [self._listed[i] for i in near]


@functools.cache
def _bodies(arm: str) -> Bodies:
    """One for all oracles of a process: it remembers nothing, and takes a while to build."""
    return Bodies(arm)


def _until(track: Any, time_s: float) -> tuple[tuple[float, float, np.ndarray], ...]:
    """What of a track was followed until then, as far back as an observation may be late."""
    past = []
    for start, end, polygon in track:
        if end <= time_s:
            past.append((start, end, polygon))
        elif start < time_s:
            u = (time_s - start) / (end - start)
            a, b, c, d = polygon
            ab, bc, cd = a + u * (b - a), b + u * (c - b), c + u * (d - c)
            abc, bcd = ab + u * (bc - ab), bc + u * (cd - bc)
            past.append((start, time_s, np.stack([a, ab, abc, abc + u * (bcd - abc)])))
    return tuple(piece for piece in past if piece[1] > time_s - MEMORY_S)
