"""Arms of the MuJoCo Menagerie, which the ``mujoco-menagerie`` package downloads when first asked.

``MENAGERIE_ROOT`` may name a checkout to use instead of a download.
"""

from __future__ import annotations

import dataclasses
import importlib

import mujoco
import numpy as np

from robowm_envs.arms import panda
from robowm_envs.arms.protocol import Arm
from robowm_envs.errors import EnvError


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a Menagerie folder does not say about its arm; see :class:`Arm` for the rest.

    Attributes:
      entry: the model within the folder.
      actuators: names of the servos, in the order of the joints.
      finger_bodies: left and right.
      tcp_z_m: from the hand's origin to the point between the fingertips.
    """

    entry: str
    joints: tuple[str, ...]
    actuators: tuple[str, ...]
    fingers: tuple[str, str]
    finger_bodies: tuple[str, str]
    gripper: str
    gripper_open: float
    gripper_closed: float
    hand: str
    tcp_z_m: float
    rest: np.ndarray
    joint_velocity: np.ndarray
    width_max_m: float
    hand_balls: np.ndarray


LAYOUTS = {
    "franka_emika_panda": Layout(
        entry="panda",
        joints=tuple(f"joint{i}" for i in range(1, 8)),
        actuators=tuple(f"actuator{i}" for i in range(1, 8)),
        fingers=("finger_joint1", "finger_joint2"),
        finger_bodies=("left_finger", "right_finger"),
        gripper="actuator8",
        gripper_open=255.0,
        gripper_closed=0.0,
        hand="hand",
        tcp_z_m=panda.TCP_Z_M,
        rest=panda.REST,
        joint_velocity=panda.JOINT_VELOCITY,
        width_max_m=panda.WIDTH_MAX_M,
        hand_balls=panda.HAND_BALLS,
    )
}


def build(name: str) -> Arm:
    """The arm of Menagerie's folder ``name``.

    Raises:
      EnvError: where the package is missing, or the download fails.
    """
    layout = LAYOUTS[name]
    spec = _load(name, layout.entry)
    for thing in [*spec.lights, *spec.keys]:
        spec.delete(thing)
    for body in spec.bodies:
        body.gravcomp = 1
    for geom in spec.geoms:
        geom.conaffinity = 0  # touches the table and the object, never itself
    for joint, actuator in zip(layout.joints, layout.actuators, strict=True):
        spec.actuator(actuator).name = joint
    spec.body(layout.hand).add_site(
        name="tcp", pos=[0, 0, layout.tcp_z_m], size=[0.005, 0, 0], group=4
    )
    return Arm(
        spec=spec,
        joints=layout.joints,
        fingers=layout.fingers,
        gripper=layout.gripper,
        gripper_open=layout.gripper_open,
        gripper_closed=layout.gripper_closed,
        pads=(_pads(spec, layout.finger_bodies[0]), _pads(spec, layout.finger_bodies[1])),
        hand=layout.hand,
        tcp="tcp",
        rest=layout.rest,
        joint_velocity=layout.joint_velocity,
        width_max_m=layout.width_max_m,
        hand_balls=layout.hand_balls,
    )


def _load(name: str, entry: str) -> mujoco.MjSpec:
    try:
        package = importlib.import_module("mujoco_menagerie")
    except ImportError:
        raise EnvError(
            f"arm 'menagerie/{name}' needs the package mujoco-menagerie, which is not installed: "
            "pip install 'robowm[menagerie]', or choose arm='panda', which needs nothing."
        ) from None
    try:
        return package.get(name).spec(entry)
    except (package.MenagerieError, OSError, ValueError) as error:
        raise EnvError(
            f"arm 'menagerie/{name}' could not be fetched ({error}): check the connection, set "
            "MENAGERIE_ROOT to a checkout of mujoco_menagerie, or choose arm='panda'."
        ) from error


def _pads(spec: mujoco.MjSpec, finger: str) -> tuple[str, ...]:
    """Names of a finger's geoms that can touch something; gives them one where they have none."""
    solid = [geom for geom in spec.body(finger).geoms if geom.contype]
    for i, geom in enumerate(solid):
        geom.name = geom.name or f"{finger}_pad{i}"
    return tuple(geom.name for geom in solid)
