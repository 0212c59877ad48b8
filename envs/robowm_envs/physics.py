"""Answers questions about the state of a scene, by name and in SI units. Decides nothing.

A question about an object takes its number ``i`` among the scene's things; 0, the first, unless said.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

from robowm_envs import geometry
from robowm_envs.scene import Scene, target_of

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Physics:
    """A scene with its state. Everything read here is a function of that state alone."""

    def __init__(self, scene: Scene):
        self.scene, self.model = scene, scene.model
        self.data = mujoco.MjData(self.model)
        self._scratch = mujoco.MjData(self.model)
        model, arm = self.model, scene.arm
        joints = [model.joint(name) for name in arm.joints]
        self.arm_qpos = np.array([j.qposadr[0] for j in joints])
        self.arm_dofs = np.array([j.dofadr[0] for j in joints])
        self.joint_low, self.joint_high = np.array([j.range for j in joints]).T
        self.arm_actuators = np.array([model.actuator(name).id for name in arm.joints])
        fingers = [model.joint(name) for name in arm.fingers]
        self.finger_qpos = np.array([j.qposadr[0] for j in fingers])
        self._finger_dofs = np.array([j.dofadr[0] for j in fingers])
        self.gripper = model.actuator(arm.gripper).id
        self._hand, self._tcp = model.body(arm.hand).id, model.site(arm.tcp).id
        self._pads = tuple(frozenset(model.geom(n).id for n in names) for names in arm.pads)
        self.names = tuple(thing.name for thing in scene.things)
        self.objects = range(len(self.names))
        self._object_body = [model.body(name).id for name in self.names]
        self._object_geom = [model.geom(name).id for name in self.names]
        self._object_qpos = [model.joint(name).qposadr[0] for name in self.names]
        self._object_dof = [model.joint(name).dofadr[0] for name in self.names]
        self._table = model.geom("table").id
        self._not_arm = frozenset([self._table, *self._object_geom])
        self._targets = [_mocap(model, target_of(thing)) for thing in scene.things]
        self._targets = self._targets or [_mocap(model, "target")]
        self._zone = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, "zone")
        hand_bodies = {self._hand, *(int(model.jnt_bodyid[j.id]) for j in fingers)}
        self._enterable = [
            *(g for g in range(model.ngeom) if model.geom_bodyid[g] in hand_bodies),
            *self._object_geom,
        ]
        self._jacobian = np.zeros((6, model.nv))
        self._scratch_position = self._scratch.site_xpos[self._tcp]  # views: one memory for ever
        self._scratch_rotation = self._scratch.site_xmat[self._tcp].reshape(3, 3)
        # Geoms that touch each object in the present state, once asked for.
        self._touching: list[frozenset[int]] | None = None
        self.state_size = mujoco.mj_stateSize(model, _STATE)

    # State

    def reset(self) -> None:
        """Everything back: positions, velocities, controls, time, mocap, warm start."""
        mujoco.mj_resetData(self.model, self.data)
        rest, data = self.scene.arm.rest, self.data
        data.qpos[self.arm_qpos] = rest
        data.ctrl[self.arm_actuators] = rest
        data.qpos[self.finger_qpos] = self.scene.arm.width_max_m / 2
        data.ctrl[self.gripper] = self.scene.arm.gripper_open

    def get_state(self) -> np.ndarray:
        state = np.empty(self.state_size)
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        return state

    def set_state(self, state: np.ndarray) -> None:
        mujoco.mj_setState(self.model, self.data, state, _STATE)
        self.forward()

    def forward(self) -> None:
        """Make every derived quantity agree with the state, as :meth:`step` leaves them."""
        mujoco.mj_step1(self.model, self.data)
        self._touching = None

    def step(self) -> None:
        # In this order the derived quantities always belong to the newest state, at no cost.
        mujoco.mj_step2(self.model, self.data)
        mujoco.mj_step1(self.model, self.data)
        self._touching = None

    def simulate(self, controls: np.ndarray) -> None:
        """One time step for each row of actuator inputs [substeps, nu]."""
        model, data, ctrl = self.model, self.data, self.data.ctrl
        for row in controls:
            ctrl[:] = row
            mujoco.mj_step2(model, data)
            mujoco.mj_step1(model, data)
        self._touching = None

    # Placing things

    def place_object(self, position: np.ndarray, yaw: float, i: int = 0) -> None:
        a = self._object_qpos[i]
        self.data.qpos[a : a + 3] = position
        self.data.qpos[a + 3 : a + 7] = geometry.quat_about_z(yaw)

    def place_target(self, position: np.ndarray, yaw: float, i: int = 0) -> None:
        """Lay the marker of an object's target, where there is one."""
        target = self._targets[i]
        if target >= 0:
            self.data.mocap_pos[target] = position
            self.data.mocap_quat[target] = geometry.quat_about_z(yaw)

    def place_zone(self, centre: np.ndarray, half_size: np.ndarray, yaw: float) -> None:
        self.model.geom_size[self._zone] = half_size
        mocap = _mocap(self.model, "zone")
        self.data.mocap_pos[mocap] = centre
        self.data.mocap_quat[mocap] = geometry.quat_about_z(yaw)

    def zone_is_entered(self) -> bool:
        """Whether hand, fingers or an object overlap the zone."""
        model, data, zone = self.model, self.data, self._zone
        return any(
            mujoco.mj_geomDistance(model, data, geom, zone, 0.01, None) <= 0.0
            for geom in self._enterable
        )

    # Pushing things

    def knock_object(self, velocity: np.ndarray, spin: float, i: int = 0) -> None:
        """Add a velocity [3] (m/s) and a turning about the vertical (rad/s), from one moment to the next."""
        dof = self._object_dof[i]
        self.data.qvel[dof : dof + 3] += velocity
        self.data.qvel[dof + 3 : dof + 6] += self.object_rotation(i).T @ np.array([0, 0, spin])
        self.forward()

    def push_hand(self, force: np.ndarray) -> None:
        """A force [3] (N, world axes) on the hand until another one is set."""
        self.data.xfrc_applied[self._hand, :3] = force

    # Arm

    def joint_position(self) -> np.ndarray:
        return self.data.qpos[self.arm_qpos]

    def joint_velocity(self) -> np.ndarray:
        return self.data.qvel[self.arm_dofs]

    def hand_position(self) -> np.ndarray:
        """[3] the tool point in the world."""
        return self.data.site_xpos[self._tcp].copy()

    def hand_rotation(self) -> np.ndarray:
        return self.data.site_xmat[self._tcp].reshape(3, 3).copy()

    def hand_yaw(self) -> float:
        return geometry.yaw_of(self.hand_rotation())

    def hand_velocity(self) -> np.ndarray:
        """[6] linear (m/s) then angular (rad/s), of the tool point in world axes."""
        jacobian = self._jacobian
        mujoco.mj_jacSite(self.model, self.data, jacobian[:3], jacobian[3:], self._tcp)
        return jacobian @ self.data.qvel

    def kinematics(self, joint_position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pose of the tool point and Jacobian [6, n] at any joint position; leaves the state alone."""
        data, jacobian = self._scratch, self._jacobian
        data.qpos[self.arm_qpos] = joint_position
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_jacSite(self.model, data, jacobian[:3], jacobian[3:], self._tcp)
        return (
            self._scratch_position.copy(),
            self._scratch_rotation.copy(),
            jacobian[:, self.arm_dofs],
        )

    def gripper_width(self) -> float:
        return float(self.data.qpos[self.finger_qpos].sum())

    def gripper_force(self) -> float:
        """Share of the motor's force in [-1, 1]; positive closes.

        Computed from the state, since the simulator's own figure is one time step old.
        """
        model, data, i = self.model, self.data, self.gripper
        length, velocity = data.actuator_length[i], data.actuator_velocity[i]
        gain, bias = model.actuator_gainprm[i, 0], model.actuator_biasprm[i]
        force = gain * data.ctrl[i] + bias[0] + bias[1] * length + bias[2] * velocity
        low, high = model.actuator_forcerange[i]
        closing = 1.0 if self.scene.arm.gripper_closed < self.scene.arm.gripper_open else -1.0
        return -closing * float(np.clip(force, low, high)) / max(high, 1e-9)

    # Objects

    @property
    def has_object(self) -> bool:
        return len(self.names) > 0

    def object_position(self, i: int = 0) -> np.ndarray:
        """[3] the middle of the box (not its centre of mass)."""
        return self.data.xpos[self._object_body[i]].copy()

    def object_rotation(self, i: int = 0) -> np.ndarray:
        return self.data.xmat[self._object_body[i]].reshape(3, 3).copy()

    def object_axis(self, i: int = 0) -> np.ndarray:
        """[3] where the long axis points, in the world; towards the cap where there is one."""
        return self.object_rotation(i)[:, 0]

    def object_bottom(self, i: int = 0) -> float:
        """Height of its lowest corner, however it is turned."""
        turned = np.abs(self.object_rotation(i)[2]) @ self.object_half_size(i)
        return float(self.object_position(i)[2] - turned)

    def object_height(self, i: int = 0) -> float:
        """How far above the table it is; one whose ends are alike is taken to lie flat."""
        if self.scene.things[i].is_directed:  # it may well stand on end
            return self.object_bottom(i)
        return float(self.object_position(i)[2] - self.object_half_size(i)[2])

    def object_yaw(self, i: int = 0) -> float:
        return geometry.yaw_of(self.object_rotation(i))

    def object_velocity(self, i: int = 0) -> np.ndarray:
        """[6] linear (m/s) of the box's middle, then angular (rad/s), in world axes."""
        dof = self._object_dof[i]
        velocity = self.data.qvel[dof : dof + 6]
        # A free joint keeps linear velocity in world axes, angular velocity in the body's.
        return np.concatenate([velocity[:3], self.object_rotation(i) @ velocity[3:]])

    def object_half_size(self, i: int = 0) -> np.ndarray:
        return self.model.geom_size[self._object_geom[i]].copy()

    def touches(self, i: int = 0) -> tuple[bool, bool]:
        """Whether each finger touches the object."""
        touching = self._contacts(i)
        return (not self._pads[0].isdisjoint(touching), not self._pads[1].isdisjoint(touching))

    def grasped(self, i: int = 0) -> bool:
        return all(self.touches(i))

    def hand_touches_object(self, i: int = 0) -> bool:
        """Any part of the arm, fingers included."""
        return not self._contacts(i) <= self._not_arm

    def object_on_table(self, i: int = 0) -> bool:
        return self._table in self._contacts(i)

    def objects_touch(self, i: int, j: int) -> bool:
        return self._object_geom[j] in self._contacts(i)

    def is_airborne(self, i: int = 0) -> bool:
        """A centimetre or more above the table, and on no other object."""
        return bool(
            self.object_height(i) > 0.01 and self._contacts(i).isdisjoint(self._object_geom)
        )

    def handled(self) -> int:
        """The object that is grasped, or else the one nearest to the tool point."""
        if len(self.objects) == 1:
            return 0
        hand = self.hand_position()
        return min(
            self.objects,
            key=lambda i: (not self.grasped(i), np.linalg.norm(self.object_position(i) - hand)),
        )

    def slip_speed(self, i: int = 0) -> float:
        """How fast the object leaves the hand while grasped, m/s; 0 when not grasped.

        Relative linear speed at the tool point, plus relative turning at a radius of 5 cm.
        """
        if not self.grasped(i):
            return 0.0
        thing, hand = self.object_velocity(i), self.hand_velocity()
        arm = self.hand_position() - self.object_position(i)
        linear = thing[:3] + np.cross(thing[3:], arm) - hand[:3]
        return float(np.linalg.norm(linear) + 0.05 * np.linalg.norm(thing[3:] - hand[3:]))

    def is_finite(self) -> bool:
        # One number that is not finite makes the sum so.
        return math.isfinite(self.data.qpos.sum() + self.data.qvel.sum())

    def _contacts(self, i: int) -> frozenset[int]:
        """Geoms that touch the object now."""
        if self._touching is None:
            contact = self.data.contact
            pairs = contact.geom[contact.dist <= contact.includemargin].tolist()
            self._touching = [
                frozenset(a if b == mine else b for a, b in pairs if mine in (a, b))
                for mine in self._object_geom
            ]
        return self._touching[i]


def _mocap(model: mujoco.MjModel, body: str) -> int:
    """The number among the mocap bodies, -1 where there is none of that name."""
    found = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, body)
    return int(model.body_mocapid[found]) if found >= 0 else -1
