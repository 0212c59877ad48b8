"""The table, what stands on it and what looks at it, composed into one model."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np

from robowm_envs import arms, cameras
from robowm_envs.objects import Box

TIMESTEP_S = 0.005
PREFIX = "arm/"  # before every name of the arm's, so that no arm collides with the scene
TABLE_CENTRE_M = np.array([0.48, 0.0])
TABLE_HALF_SIZE_M = np.array([0.30, 0.38])
# The tool point may be commanded anywhere in this box (world frame; the table's top is z = 0).
WORKSPACE_LOW_M = np.array([0.30, -0.26, 0.012])
WORKSPACE_HIGH_M = np.array([0.68, 0.26, 0.30])
# Joint 7 reaches every yaw in this interval but for a far corner: at its ends it falls short.
YAW_LIMIT_RAD = 1.95
# From pointing down; a hand that lies flatter comes to the table with its wrist.
TILT_LIMIT_RAD = 1.5
CAP_SHARE = 0.4  # of the bar's length

TABLE_RGB = (0.62, 0.58, 0.50)
MARKER_RGBA = (0.05, 0.75, 0.25, 1.0)
DARKER = 0.5  # a marker in its object's colour, beside the object
ZONE_RGBA = (0.95, 0.75, 0.05, 0.45)
FLOOR_RGBA = (0.25, 0.28, 0.33, 1.0)


@dataclasses.dataclass(frozen=True)
class Scene:
    """A compiled scene and the names needed to find one's way in it."""

    spec: mujoco.MjSpec
    model: mujoco.MjModel
    arm: arms.Arm
    things: tuple[Box, ...]


def build(
    arm_name: str = "panda", things: tuple[Box, ...] = (), marker: str = "bar",
    zone: bool = False, timestep_s: float = TIMESTEP_S,
) -> Scene:  # fmt: skip
    """Compose arm, table, lights, cameras, objects and target markers.

    Args:
      arm_name: key of :data:`robowm_envs.arms.ARMS`.
      things: the objects to manipulate.
      marker: ``"bar"`` (lies on the table and shows the first object's target with its yaw),
        ``"bars"`` (one for each object, in its colour), ``"disc"`` (lies on the table and shows no
        yaw), ``"ball"`` or ``"none"``.
      zone: a box that stops nothing and that no camera of an agent's sees.
      timestep_s: of the physics.
    """
    arm = arms.build(arm_name)
    spec = mujoco.MjSpec()
    spec.modelname = "robowm"
    # The scene's options hold, whatever the arm's file says.
    spec.option.timestep = timestep_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    _make_light_to_draw(spec)
    world = spec.worldbody
    world.add_light(
        name="sun", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0.5, 0, 1.5],
        dir=[-0.2, 0.25, -1.0], diffuse=[0.55, 0.55, 0.55], castshadow=False,
    )  # fmt: skip
    box = mujoco.mjtGeom.mjGEOM_BOX
    world.add_geom(
        name="table", type=box, pos=[*TABLE_CENTRE_M, -0.02], size=[*TABLE_HALF_SIZE_M, 0.02],
        rgba=[*TABLE_RGB, 1], contype=0, conaffinity=3,
    )  # fmt: skip
    world.add_geom(
        name="floor", type=box, pos=[0, 0, -0.45], size=[3, 3, 0.01], rgba=FLOOR_RGBA,
        contype=0, conaffinity=0,
    )  # fmt: skip
    for i, thing in enumerate(things):
        body = world.add_body(name=thing.name, pos=[0.5, 0.15 * i, thing.half_size_m[2]])
        body.add_freejoint(name=thing.name)
        # Written out, and off the middle, lest the compiler take a shortcut for centred bodies that
        # would forbid moving the centre of mass later.
        body.explicitinertial = True
        body.mass, body.ipos = thing.mass_kg, [0.01, 0, 0]
        squares = np.square(thing.half_size_m)
        body.inertia = thing.mass_kg / 3 * (squares.sum() - squares)
        body.add_geom(
            name=thing.name, type=box, size=thing.half_size_m, rgba=[*thing.rgb, 1],
            contype=2, conaffinity=3, condim=4, friction=[thing.friction, 0.005, 0.0001],
            priority=1,  # its friction alone decides, so one number can be randomised
            solref=[0.012, 1.0], margin=thing.margin_m,
        )  # fmt: skip
        if thing.cap_rgb is not None:
            place, half = cap_box(np.array(thing.half_size_m))
            body.add_geom(
                name=cap_of(thing), type=box, pos=place, size=half, rgba=[*thing.cap_rgb, 1],
                contype=0, conaffinity=0, mass=0,
            )  # fmt: skip
    _add_markers(spec, marker, things)
    if zone:
        body = world.add_body(name="zone", mocap=True)
        body.add_geom(
            name="zone", type=box, size=[0.03, 0.03, 0.05], rgba=ZONE_RGBA,
            contype=0, conaffinity=0, group=cameras.FOR_PEOPLE,
        )  # fmt: skip
    cameras.add_front(spec)
    arm.spec.option = spec.option  # where they differ, attaching warns, into a file
    spec.attach(arm.spec, prefix=PREFIX, frame=world.add_frame())
    cameras.add_wrist(spec.body(PREFIX + arm.hand))
    return Scene(spec, spec.compile(), arm.prefixed(PREFIX), things)


def cap_box(half_size_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half size of a cap on the end at +x of a box: paint, a hair thicker than the box."""
    half = half_size_m * [CAP_SHARE, 1.0, 1.0]
    return np.array([half_size_m[0] - half[0], 0.0, 0.0]), half + 0.0004


def _make_light_to_draw(spec: mujoco.MjSpec) -> None:
    """Drawing costs more than physics: no shadows, no multisampling, coarse round shapes."""
    quality, visual = spec.visual.quality, spec.visual
    quality.offsamples, quality.shadowsize = 0, 0
    quality.numslices, quality.numstacks, quality.numquads = 12, 6, 2
    visual.headlight.ambient = [0.35, 0.35, 0.35]
    visual.headlight.diffuse = [0.35, 0.35, 0.35]
    visual.headlight.specular = [0, 0, 0]
    visual.global_.offwidth, visual.global_.offheight = 1024, 1024
    visual.map.znear = 0.005
    spec.stat.extent, spec.stat.center = 1.0, [0.5, 0, 0.2]


def cap_of(thing: Box) -> str:
    """The name of the geom that is its cap."""
    return f"{thing.name}_cap"


def target_of(thing: Box) -> str:
    """The name of the marker that shows where ``thing`` shall lie."""
    return "target" if thing.name == "object" else f"{thing.name}_target"


def _add_markers(spec: mujoco.MjSpec, kind: str, things: tuple[Box, ...]) -> None:
    ghost = {"contype": 0, "conaffinity": 0}
    if kind in ("ball", "disc"):
        shape, size = {
            "ball": (mujoco.mjtGeom.mjGEOM_SPHERE, [0.02, 0, 0]),
            "disc": (mujoco.mjtGeom.mjGEOM_CYLINDER, [0.03, 0.0008, 0]),
        }[kind]
        marker = spec.worldbody.add_body(name="target", mocap=True)
        marker.add_geom(name="target", type=shape, size=size, rgba=MARKER_RGBA, **ghost)
        return
    shown = {"none": (), "bar": things[:1], "bars": things}[kind]
    assert shown or kind == "none", "a bar marker shows where an object shall lie"
    for thing in shown:
        name = target_of(thing)
        rgba = MARKER_RGBA if kind == "bar" else [*(DARKER * np.array(thing.rgb)), 1.0]
        marker = spec.worldbody.add_body(name=name, mocap=True)
        marker.add_geom(
            name=name, type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[thing.half_size_m[0], thing.half_size_m[1], 0.0008], rgba=rgba, **ghost,
        )  # fmt: skip
