"""A copy of the arm over the empty table that knows joint positions alone: where its hand would be, and
what would touch what, and which joint targets an action means. It needs no simulation, so it serves
beside a real arm."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import mujoco
import numpy as np

from robowm_envs import proprio, scene
from robowm_envs.controller import TILTING, UPRIGHT, HandController
from robowm_envs.errors import EnvError
from robowm_envs.physics import Physics

SIGHT_M = 0.08  # what is further away than this is not looked for
# Links nearer to each other than this along the arm are kept apart by the joints between them.
_APART = 3
# Fingers work at the table: this much nearer to it they count as no nearer than other links.
FINGERTIP_M = 0.003
ROUNDING_RAD = 1e-6  # kept to a limit, so that what stands at it is within
_LINKS, _TABLE = 1, 2  # bits of MuJoCo's contype and conaffinity


class Twin:
    """Joint positions ``q`` [N] are those of a :class:`robowm_envs.joints.JointPort`: the arm's (rad),
    and last the width of the gripper's opening (m).

    The fingers work at the table, so their distance to it counts as ``FINGERTIP_M`` more than it is.

    Attributes:
      sight_m: from where on something is seen to be near.
      reach_m: [N] at most how far a radian (or metre) of each joint moves any point of the arm.
    """

    def __init__(self, arm: str = "panda", sight_m: float = SIGHT_M):
        built = scene.build(arm, marker="none")
        fingers = set(built.arm.fingers)
        box = mujoco.mjtGeom.mjGEOM_BOX
        for geom in built.spec.geoms:
            if geom.contype or geom.conaffinity:
                is_table = geom.name == "table"
                geom.contype = 0 if is_table else _LINKS if geom.type == box else _LINKS | _TABLE
                geom.conaffinity = _TABLE if is_table else _LINKS
                geom.margin = sight_m
        _exclude_neighbours(built.spec, built.model)
        self._physics = Physics(scene.Scene(built.spec, built.spec.compile(), built.arm, ()))
        self._physics.reset()
        self.sight_m = sight_m
        self.reach_m = _reach(self._physics)
        # MuJoCo's contacts of two boxes that are apart leave some out, so the table's are measured.
        model, self._table = self._physics.model, built.model.geom("table").id
        self._boxes = [
            (geom, FINGERTIP_M if fingers & _joints_of(model, model.geom_bodyid[geom]) else 0.0)
            for geom in range(model.ngeom)
            if model.geom_type[geom] == box and model.geom_contype[geom]
        ]

    def commander(
        self, actions: tuple[str, ...], low: Sequence[float], high: Sequence[float]
    ) -> Commander:
        """What turns actions of these names (an ``ActionSpec``'s) into joint targets.

        Args:
          low, high: [N] between which the targets stay, within the end stops.

        Raises:
          EnvError: for actions that no task has.
        """
        for space in (UPRIGHT, TILTING):
            if space.names == tuple(actions):
                physics = Physics(self._physics.scene)
                physics.joint_low = np.maximum(physics.joint_low, np.array(low[:-1]) + ROUNDING_RAD)
                physics.joint_high = np.minimum(
                    physics.joint_high, np.array(high[:-1]) - ROUNDING_RAD
                )
                return Commander(physics, HandController(physics, space))
        raise EnvError(f"no arm is commanded by actions of {', '.join(actions)}.")

    def look(self, q: np.ndarray) -> tuple[np.ndarray, float, tuple[str, str] | None]:
        """At joint position [N]: tool point [3] (m, in the world); how far (m) the two nearest bodies are
        from each other, negative where they overlap and ``sight_m`` at most; and their names."""
        physics = self._physics
        _place(physics, q)
        model, data = physics.model, physics.data
        mujoco.mj_collision(model, data)
        nearest, pair = self.sight_m, None
        if data.ncon:
            distances = data.contact.dist
            i = int(distances.argmin())
            if distances[i] < nearest:
                nearest, pair = float(distances[i]), data.contact.geom[i]
        for geom, allowed in self._boxes:
            distance = mujoco.mj_geomDistance(model, data, self._table, geom, self.sight_m, None)
            distance += allowed
            if distance < nearest:
                nearest, pair = distance, (self._table, geom)
        names = None if pair is None else (self._name(pair[0]), self._name(pair[1]))
        return physics.hand_position(), nearest, names

    def proprio(self, q: np.ndarray, dq: np.ndarray, effort: np.ndarray) -> np.ndarray:
        """The observation ``proprio``, float32 [P], of what an arm measures [N] each.

        Args:
          effort: of which the gripper's counts: the share of its force in [-1, 1], positive closes.
        """
        physics = self._physics
        _place(physics, q)
        told = proprio.compose(physics, q[:-1], dq[:-1], float(q[-1]), float(effort[-1]))
        return np.clip(told, *proprio.bounds(physics)).astype(np.float32)

    def _name(self, geom: int) -> str:
        model = self._physics.model
        body = int(model.geom_bodyid[geom])
        name = model.body(body).name if body else model.geom(geom).name
        return name.removeprefix(scene.PREFIX)


def _place(physics: Physics, q: np.ndarray) -> None:
    physics.data.qpos[physics.arm_qpos] = q[:-1]
    physics.data.qpos[physics.finger_qpos] = q[-1] / 2
    mujoco.mj_kinematics(physics.model, physics.data)


class Commander:
    """Joint targets that actions mean: the controller of the simulation, from what joints measure."""

    def __init__(self, physics: Physics, controller: HandController):
        self._physics, self._controller = physics, controller
        self._width_m = physics.scene.arm.width_max_m

    def reset(self, q: np.ndarray) -> None:
        """Command what is, at joint position [N]."""
        _place(self._physics, q)
        self._controller.reset()
        self._controller.closed = bool(q[-1] < self._width_m / 2)

    def target(self, action: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Joint position [N] to be at when ``action`` [A] has been done from ``q`` [N], where the joints
        are measured or expected as it begins."""
        _place(self._physics, q)
        self._controller.aim(np.asarray(action, np.float64))
        width = 0.0 if self._controller.closed else self._width_m
        return np.append(self._controller.joint_target, width)

    def state(self) -> np.ndarray:
        """What is commanded, for :meth:`restore`."""
        return self._controller.to_vector()

    def restore(self, state: np.ndarray) -> None:
        """Command again what was commanded as :meth:`state` was asked."""
        self._controller.from_vector(state)


def _joints_of(model: mujoco.MjModel, body: int) -> set[str]:
    first, count = model.body_jntadr[body], model.body_jntnum[body]
    return {model.joint(i).name for i in range(first, first + count)}


def _reach(physics: Physics) -> np.ndarray:
    """[N] an upper bound: the links beyond a joint, stretched out; half the opening moves a finger."""
    model = physics.model
    reach = np.zeros(model.nbody)
    for body in range(model.nbody - 1, 0, -1):  # children have larger numbers
        geoms = np.flatnonzero(model.geom_bodyid == body)
        own = np.linalg.norm(model.geom_pos[geoms], axis=1) + model.geom_rbound[geoms]
        reach[body] = max(reach[body], own.max(initial=0.0))
        parent, offset = model.body_parentid[body], np.linalg.norm(model.body_pos[body])
        joints = np.flatnonzero(model.jnt_bodyid == body)
        sliding = joints[model.jnt_type[joints] == mujoco.mjtJoint.mjJNT_SLIDE]
        offset += np.abs(model.jnt_range[sliding]).sum()
        reach[parent] = max(reach[parent], offset + reach[body])
    driven = [model.joint(name).bodyid[0] for name in physics.scene.arm.joints]
    return np.append(reach[driven], 0.5)


def _exclude_neighbours(spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
    chains = {}
    for i in range(1, model.nbody):
        chain, body = [i], i
        while body := int(model.body_parentid[body]):
            chain.append(body)
        chains[i] = chain
    for i, j in itertools.combinations(chains, 2):
        common = set(chains[i]) & set(chains[j])
        between = len(set(chains[i]) ^ set(chains[j]))  # joints from one to the other
        if common and between < _APART:
            spec.add_exclude(bodyname1=model.body(i).name, bodyname2=model.body(j).name)
