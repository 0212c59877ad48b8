"""What may differ between episodes, in named groups, with ranges to train on and ranges beyond them.

An episode is a function of (split, episode number): each group draws from its own stream, so
switching one group on or off leaves the draws of the others as they were. What is said of the object
holds for all objects of a scene, which are made of one stuff.
"""

from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Collection, Mapping

import mujoco
import numpy as np

from robowm_envs import cameras
from robowm_envs.errors import unknown
from robowm_envs.objects import Box
from robowm_envs.scene import Scene, cap_box, cap_of, target_of

GROUPS = ("pose", "friction", "mass", "size", "colour", "light", "camera")
SPLITS = ("train", "validation", "test", *(f"shift_{group}" for group in GROUPS), "shift_all")
# On unless said otherwise: what a scene cannot do without, and what no camera sees.
DEFAULT = ("pose", "friction", "mass")

Intervals = tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Range:
    """Where a number is drawn from: a union of intervals to train on, another one beyond it.

    Attributes:
      nominal: the value when its group is off.
    """

    nominal: float
    train: Intervals
    shift: Intervals

    def draw(self, rng: np.random.Generator, shift: bool) -> float:
        intervals = np.array(self.shift if shift else self.train)
        width = intervals[:, 1] - intervals[:, 0]
        i = rng.choice(len(intervals), p=width / width.sum())
        return float(rng.uniform(*intervals[i]))


def both_sides(inner: float, outer: float, beyond: float) -> Range:
    """0 nominally, within ±inner to train on, between ±outer and ±beyond as the shift."""
    return Range(0.0, ((-inner, inner),), ((-beyond, -outer), (outer, beyond)))


_SCALE = Range(1.0, ((0.95, 1.05),), ((0.84, 0.90), (1.10, 1.18)))

# Every number that conditions hold, by group. A task may override single entries.
RANGES: Mapping[str, Mapping[str, Range]] = {
    "friction": {"friction": Range(1.0, ((0.8, 1.2),), ((0.4, 0.6),))},
    "mass": {
        "mass_scale": Range(1.0, ((0.8, 1.25),), ((0.4, 0.6), (1.6, 2.2))),
        "com_offset_m": both_sides(0.006, 0.012, 0.02),
    },
    # Width and height grow together: the bar's section stays a square, and so its symmetries.
    "size": {"length_scale": _SCALE, "width_scale": _SCALE},
    "colour": {
        "object_hue": both_sides(0.02, 0.06, 0.14),
        "object_value": Range(1.0, ((0.9, 1.1),), ((0.6, 0.8),)),
        "table_hue": both_sides(0.03, 0.10, 0.40),
        "table_value": Range(1.0, ((0.92, 1.08),), ((0.65, 0.8), (1.2, 1.35))),
    },
    "light": {
        "light_scale": Range(1.0, ((0.9, 1.1),), ((0.5, 0.7), (1.3, 1.5))),
        "light_x": both_sides(0.1, 0.3, 0.7),
        "light_y": both_sides(0.1, 0.3, 0.7),
    },
    "camera": {
        "camera_x_m": both_sides(0.01, 0.02, 0.04),
        "camera_y_m": both_sides(0.01, 0.02, 0.04),
        "camera_z_m": both_sides(0.01, 0.02, 0.04),
        "camera_fovy_deg": both_sides(0.5, 1.0, 2.0),
        "wrist_y_m": both_sides(0.002, 0.004, 0.008),
    },
}
NAMES = tuple(name for group in RANGES.values() for name in group)


def check_split(split: str) -> str:
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return split


def check_groups(groups: Collection[str]) -> tuple[str, ...]:
    for group in groups:
        if group not in GROUPS:
            raise unknown("randomisation group", group, GROUPS)
    return tuple(group for group in GROUPS if group in groups)


@dataclasses.dataclass(frozen=True)
class Draw:
    """The random streams and choices of one episode."""

    split: str
    episode: int
    groups: tuple[str, ...]

    def rng(self, group: str) -> np.random.Generator:
        key = [SPLITS.index(self.split), self.episode, GROUPS.index(group)]
        return np.random.default_rng(np.random.SeedSequence(key))

    def is_shifted(self, group: str) -> bool:
        # All at once are the factors of looks and dynamics; where things lie is a shift of its own.
        return self.split == f"shift_{group}" or (self.split == "shift_all" and group != "pose")

    def is_drawn(self, group: str) -> bool:
        return group in self.groups or self.is_shifted(group)


def draw_conditions(draw: Draw, overrides: Mapping[str, Range]) -> dict[str, float]:
    """All numbers of :data:`NAMES` for one episode."""
    conditions = {}
    for group, ranges in RANGES.items():
        rng, shift = draw.rng(group), draw.is_shifted(group)
        for name, usual in ranges.items():
            chosen = overrides.get(name, usual)
            value = chosen.draw(rng, shift)
            conditions[name] = value if draw.is_drawn(group) else chosen.nominal
    return conditions


class Conditions:
    """Writes an episode's numbers into a scene's model, always starting from the model as built."""

    def __init__(self, scene: Scene):
        self._scene = scene
        model = self._model = scene.model
        self._data = mujoco.MjData(model)  # mj_setConst needs one, and must not touch the episode's
        self._table = model.geom("table").id
        self._front, self._wrist = model.camera("front").id, model.camera("wrist").id
        looks = ("geom_rgba", "light_dir", "light_diffuse", "cam_pos", "cam_quat", "cam_fovy")
        self._base = {name: getattr(model, name).copy() for name in looks}
        self.current: dict[str, float] = {}

    def apply(self, conditions: Mapping[str, float]) -> None:
        if dict(conditions) == self.current:
            return
        self.current = dict(conditions)
        for thing in self._scene.things:
            self._apply_object(conditions, thing)
        self._apply_looks(conditions)
        mujoco.mj_setConst(self._model, self._data)

    def _apply_object(self, c: Mapping[str, float], thing: Box) -> None:
        model = self._model
        body, geom = model.body(thing.name).id, model.geom(thing.name).id
        scale = np.array([c["length_scale"], c["width_scale"], c["width_scale"]])
        half = np.array(thing.half_size_m) * scale
        mass = thing.mass_kg * c["mass_scale"]
        model.geom_size[geom] = half
        # The broad phase looks at these, not at the size.
        model.geom_rbound[geom] = np.linalg.norm(half)
        model.geom_aabb[geom, 3:] = half
        offset = np.array([c["com_offset_m"], 0.0, 0.0])
        model.body_mass[body] = mass
        model.body_ipos[body] = offset
        model.body_inertia[body] = mass / 3 * (np.sum(half**2) - half**2)
        node = model.body_bvhadr[body]
        model.bvh_aabb[node, :3], model.bvh_aabb[node, 3:] = -offset, half
        model.geom_friction[geom, 0] = c["friction"]
        if thing.cap_rgb is not None:
            cap = model.geom(cap_of(thing)).id
            model.geom_pos[cap], model.geom_size[cap] = cap_box(half)
            model.geom_rbound[cap] = np.linalg.norm(half)
        target = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, target_of(thing))
        if target >= 0 and model.geom_type[target] == mujoco.mjtGeom.mjGEOM_BOX:
            model.geom_size[target, :2] = half[:2]

    def _apply_looks(self, c: Mapping[str, float]) -> None:
        model, base = self._model, self._base
        rgba, table = base["geom_rgba"][:, :3], self._table
        model.geom_rgba[table, :3] = _tint(rgba[table], c["table_hue"], c["table_value"])
        for thing in self._scene.things:
            geom = model.geom(thing.name).id
            model.geom_rgba[geom, :3] = _tint(rgba[geom], c["object_hue"], c["object_value"])
            if thing.cap_rgb is not None:
                cap = model.geom(cap_of(thing)).id
                model.geom_rgba[cap, :3] = _tint(rgba[cap], c["object_hue"], c["object_value"])
        model.light_diffuse[:] = base["light_diffuse"] * c["light_scale"]
        direction = base["light_dir"] + np.array([c["light_x"], c["light_y"], 0.0])
        model.light_dir[:] = direction / np.linalg.norm(direction, axis=1, keepdims=True)
        model.cam_pos[self._front] = base["cam_pos"][self._front] + np.array(
            [c["camera_x_m"], c["camera_y_m"], c["camera_z_m"]]
        )
        model.cam_quat[self._front] = cameras.look_at(
            model.cam_pos[self._front], cameras.FRONT_LOOKS_AT, np.array([0.0, 0.0, 1.0])
        )
        model.cam_fovy[self._front] = base["cam_fovy"][self._front] + c["camera_fovy_deg"]
        aside = np.array([0.0, c["wrist_y_m"], 0.0])
        model.cam_pos[self._wrist] = base["cam_pos"][self._wrist] + aside


def _tint(rgb: np.ndarray, hue: float, value: float) -> np.ndarray:
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    return np.array(colorsys.hsv_to_rgb((h + hue) % 1.0, s, min(v * value, 1.0)))
