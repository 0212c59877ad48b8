"""Answers questions about the state of a scene, by name and in SI units. Decides nothing."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from robowm_envs import geometry
from robowm_envs.scene import Scene

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
        self.has_object = scene.thing is not None
        if self.has_object:
            self.object_body, self.object_geom = model.body("object").id, model.geom("object").id
            joint = model.joint("object")
            self._object_qpos, self._object_dof = joint.qposadr[0], joint.dofadr[0]
            self._table = model.geom("table").id
        self._target = -1
        if mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "target") >= 0:
            self._target = model.body("target").mocapid[0]
        self._jacobian = np.zeros((6, model.nv))
        self._scratch_position = self._scratch.site_xpos[self._tcp]  # views: one memory for ever
        self._scratch_rotation = self._scratch.site_xmat[self._tcp].reshape(3, 3)
        self._touching: frozenset[int] | None = None  # of the present state, once asked for
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

    def place_object(self, position: np.ndarray, yaw: float) -> None:
        a = self._object_qpos
        self.data.qpos[a : a + 3] = position
        self.data.qpos[a + 3 : a + 7] = geometry.quat_about_z(yaw)

    def place_target(self, position: np.ndarray, yaw: float) -> None:
        if self._target >= 0:
            self.data.mocap_pos[self._target] = position
            self.data.mocap_quat[self._target] = geometry.quat_about_z(yaw)

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

    # Object

    def object_position(self) -> np.ndarray:
        """[3] the middle of the box (not its centre of mass)."""
        return self.data.xpos[self.object_body].copy()

    def object_rotation(self) -> np.ndarray:
        return self.data.xmat[self.object_body].reshape(3, 3).copy()

    def object_axis(self) -> np.ndarray:
        """[3] where the long axis points, in the world; towards the cap where there is one."""
        return self.object_rotation()[:, 0]

    def object_bottom(self) -> float:
        """Height of its lowest corner, however it is turned."""
        return float(
            self.object_position()[2] - np.abs(self.object_rotation()[2]) @ self.object_half_size()
        )

    def object_yaw(self) -> float:
        return geometry.yaw_of(self.object_rotation())

    def object_velocity(self) -> np.ndarray:
        """[6] linear (m/s) of the box's middle, then angular (rad/s), in world axes."""
        velocity = self.data.qvel[self._object_dof : self._object_dof + 6]
        # A free joint keeps linear velocity in world axes, angular velocity in the body's.
        return np.concatenate([velocity[:3], self.object_rotation() @ velocity[3:]])

    def object_half_size(self) -> np.ndarray:
        return self.model.geom_size[self.object_geom].copy()

    def touches(self) -> tuple[bool, bool]:
        """Whether each finger touches the object."""
        pairs = self._object_contacts()
        return (not self._pads[0].isdisjoint(pairs), not self._pads[1].isdisjoint(pairs))

    def grasped(self) -> bool:
        return all(self.touches())

    def hand_touches_object(self) -> bool:
        """Any part of the arm, fingers included."""
        return any(geom != self._table for geom in self._object_contacts())

    def object_on_table(self) -> bool:
        return self._table in self._object_contacts()

    def slip_speed(self) -> float:
        """How fast the object leaves the hand while grasped, m/s; 0 when not grasped.

        Relative linear speed at the tool point, plus relative turning at a radius of 5 cm.
        """
        if not self.grasped():
            return 0.0
        thing, hand = self.object_velocity(), self.hand_velocity()
        arm = self.hand_position() - self.object_position()
        linear = thing[:3] + np.cross(thing[3:], arm) - hand[:3]
        return float(np.linalg.norm(linear) + 0.05 * np.linalg.norm(thing[3:] - hand[3:]))

    def is_finite(self) -> bool:
        # One number that is not finite makes the sum so.
        return math.isfinite(self.data.qpos.sum() + self.data.qvel.sum())

    def _object_contacts(self) -> frozenset[int]:
        """Geoms that touch the object now."""
        if self._touching is None:
            contact, mine = self.data.contact, self.object_geom
            pairs = contact.geom[contact.dist <= 0].tolist()
            self._touching = frozenset(a if b == mine else b for a, b in pairs if mine in (a, b))
        return self._touching
