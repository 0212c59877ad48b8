"""The environment: one task, one scene, a controller, and what is to be remembered of an episode."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import dm_env
import numpy as np
from dm_env import specs

from robowm_envs import controller, geometry, ik, proprio, pushes, scene
from robowm_envs import randomise as randomisation
from robowm_envs.cameras import CAMERAS, Painter
from robowm_envs.errors import EnvError, unknown
from robowm_envs.physics import Physics
from robowm_envs.randomise import Conditions, Draw
from robowm_envs.tasks import Goal, Start, Task
from robowm_envs.tasks.base import HOLD_STEPS, POSITION_TOLERANCE_M, ROTATION_TOLERANCE_RAD

OBSERVATIONS = ("pixels", "state")
LIFTED_M = 0.04
SPOILT = 0.5  # what is left of the reward once success is forfeited


class ManipulationEnv(dm_env.Environment):
    """A dm_env environment, with the additions that learning from simulation needs.

    Observations: ``image_<camera>`` uint8 [H, W, 3] or, in state mode, ``object`` float32; then
    ``proprio`` and ``goal`` float32. Actions: float32 [A] in [-1, 1], a move of the commanded hand
    pose (see ``action_spec().name``; ``action_scale`` gives metres and radians a step) and the
    gripper (> 0 closes).

    Args:
      task: what to do.
      observation: ``"pixels"`` or ``"state"``.
      split: one of :data:`robowm_envs.randomise.SPLITS`.
      seed: number of the first episode that ``reset()`` without a seed plays.
      cameras: a subset of :data:`robowm_envs.cameras.CAMERAS`.
      image_size: height and width of the pictures.
      randomise: groups that are drawn; a shift split draws its group whether named or not.
      arm: key of :data:`robowm_envs.arms.ARMS`.
      push: one of :data:`robowm_envs.pushes.PUSHES`: what is knocked against, once an episode.
      timestep_s: of the physics; a control step takes a whole number of them.
    """

    def __init__(
        self,
        task: Task,
        *,
        observation: str = "pixels",
        split: str = "train",
        seed: int = 0,
        cameras: Collection[str] = CAMERAS,
        image_size: int = 64,
        randomise: Collection[str] = randomisation.DEFAULT,
        arm: str = "panda",
        push: str = "none",
        painter: Painter | None = None,
        timestep_s: float = scene.TIMESTEP_S,
    ):
        if observation not in OBSERVATIONS:
            raise unknown("observation mode", observation, OBSERVATIONS)
        for camera in cameras:
            if camera not in CAMERAS:
                raise unknown("camera", camera, CAMERAS)
        if not 8 <= image_size <= 1024:
            raise EnvError(f"image_size is {image_size}: choose a number of pixels from 8 to 1024.")
        steps = controller.CONTROL_DT_S / timestep_s if timestep_s > 0 else 0.0
        if steps < 1 or abs(steps - round(steps)) > 1e-6:
            raise EnvError(
                f"timestep_s is {timestep_s}: choose a time that {controller.CONTROL_DT_S} s, a control "
                "step, is a multiple of."
            )
        self.task, self.name = task, task.name
        self.time_limit_steps = task.time_limit_steps
        self.yaw_order = task.yaw_order
        self.goal_rows = task.goal_rows
        self.control_dt_s = controller.CONTROL_DT_S
        self.action_scale = task.actions.scale.copy()
        self.draw_from(split, push)
        self._groups = randomisation.check_groups(randomise)
        self._cameras = tuple(cameras) if observation == "pixels" else ()
        self._size = (image_size, image_size)
        self._state_mode = observation == "state"
        self._next_episode = int(seed)
        scene_ = scene.build(arm, task.things, task.marker, task.has_zone, timestep_s)
        self.physics = Physics(scene_)
        self.controller = controller.HandController(self.physics, task.actions)
        self._conditions = Conditions(scene_)
        self.painter = painter or Painter()
        self._specs = self._build_specs()
        self._privileged_specs = self._build_privileged_specs()
        self._action_spec = specs.BoundedArray(
            self.action_scale.shape, np.float32, -1.0, 1.0, name="\t".join(task.actions.names)
        )
        self.goal = Goal(np.zeros(3))
        self.episode = -1
        self._forget()
        self._over = True

    # dm_env

    def reset(self, seed: int | None = None) -> dm_env.TimeStep:
        """Begin an episode: number ``seed`` of this split, to the bit, or else the next one."""
        self.episode = self._next_episode if seed is None else int(seed)
        if self.episode < 0:
            raise EnvError(f"the seed is {seed}: it numbers an episode, so choose 0 or more.")
        self._next_episode = self.episode + 1
        draw = Draw(self.split, self.episode, self._groups)
        self._conditions.apply(randomisation.draw_conditions(draw, self.task.ranges))
        sizes = [self.physics.object_half_size(i) for i in self.physics.objects]
        self._place(self.task.draw_start(draw, np.array(sizes)))
        self._forget()
        return dm_env.restart(self._observe())

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """One control step of 0.1 s; raises :class:`EnvError` for an action that is none."""
        controls = None if self._over else self.begin_step(action)
        if controls is None:
            return self.reset()
        self.physics.simulate(controls)
        return self.finish_step()

    def begin_step(self, action: np.ndarray) -> np.ndarray:
        """Actuator inputs [substeps, nu] for an action; what simulates them may be another's."""
        action = self._check_action(action)
        self.disturb()
        return self.controller.controls(action)

    def disturb(self) -> None:
        """Push, where and when this episode has it."""
        if self._push_kind != "none":
            push = pushes.draw_push(self._push_kind, self.episode)
            push.apply(self.physics, self._steps, self._conditions.current["friction"])

    def finish_step(self) -> dm_env.TimeStep:
        """What follows once the physics stand where :meth:`begin_step`'s inputs led."""
        if not self.physics.is_finite():
            raise EnvError(
                f"the simulation of {self.name!r} diverged at episode {self.episode}, step {self._steps}: "
                "report it with this number; go on with reset()."
            )
        self._steps += 1
        self._remember()
        reward, lost = self.task.reward(self.physics, self.goal), self.task.is_lost(self.physics)
        if self._violated:
            reward *= SPOILT
        self._over = lost or self._steps >= self.time_limit_steps
        if lost:
            return dm_env.termination(reward, self._observe())
        if self._over:
            return dm_env.truncation(reward, self._observe())
        return dm_env.transition(reward, self._observe())

    def observation_spec(self) -> dict[str, specs.Array]:
        return dict(self._specs)

    def action_spec(self) -> specs.BoundedArray:
        return self._action_spec

    def close(self) -> None:
        self.painter.close()

    # Beyond dm_env

    def draw_from(self, split: str, push: str) -> None:
        """Of which split the next episodes are, and what is pushed in them."""
        randomisation.check_split(split)
        pushes.check_push(push)
        if push == "object" and not self.task.things:
            raise EnvError(f"task {self.name!r} has no object to push: choose push='arm'.")
        self.split, self._push_kind = split, push

    def privileged_spec(self) -> dict[str, specs.Array]:
        return dict(self._privileged_specs)

    def privileged(self) -> dict[str, np.ndarray]:
        """What only a simulator knows: targets to learn from, never inputs.

        The pose of each object; contact and slip are those of the object that is grasped, or else
        nearest to the hand.
        """
        physics = self.physics
        if not physics.has_object:
            return {"object_position": self.goal.position.astype(np.float32)}
        told = {}
        for i, thing in enumerate(self.task.things):
            told[f"{thing.name}_position"] = physics.object_position(i).astype(np.float32)
            if thing.is_directed:
                told[f"{thing.name}_rotation"] = physics.object_axis(i).astype(np.float32)
            else:
                turn = self.yaw_order * physics.object_yaw(i)
                told[f"{thing.name}_yaw"] = np.array([np.sin(turn), np.cos(turn)], np.float32)
        i = physics.handled()
        told["contact"] = np.array(physics.touches(i), np.float32)
        told["slip"] = np.array([min(physics.slip_speed(i), 1.0)], np.float32)
        return told

    def metrics(self) -> dict[str, float]:
        """How things stand: ``success`` (held for 0.5 s, now), errors now; the rest since reset."""
        position, rotation = self.task.errors(self.physics, self.goal)
        metrics = {
            "success": float(self._held >= HOLD_STEPS),
            "position_error_m": position,
            "rotation_error_rad": rotation,
            "position_fits": float(position <= POSITION_TOLERANCE_M),
            "rotation_fits": float(rotation <= ROTATION_TOLERANCE_RAD),
            **self.task.metrics(self.physics, self.goal),
        }
        if self.task.things:
            metrics |= {
                "grasped": float(self._grasped),
                "lifted": float(self._lifted),
                "dropped": float(self._dropped),
            }
        if self.task.violation:
            metrics[self.task.violation] = float(self._violated)
        return metrics

    @property
    def hand_in_proprio(self) -> int:
        """Where in ``proprio`` the tool's pose begins: position (3), the x and y axes of its frame (6),
        the gripper's width (1)."""
        return len(self.physics.arm_qpos) + len(self.physics.arm_dofs)

    def constraints(self) -> dict[str, np.ndarray]:
        """What this episode forbids, for whoever plans; empty where nothing is.

        ``keep_out`` [K, 7]: boxes, each centre (3), half edges (3) (m) and yaw (rad).
        ``hand_balls`` [M, 5] and ``object_balls`` [N, 4] cover what may not enter them, in the frame
        of the tool and of the object: see :attr:`robowm_envs.arms.Arm.hand_balls`.
        :attr:`hand_in_proprio` is among them.
        """
        told = self.task.constraints(self.physics, self.goal)
        return {**told, "hand_in_proprio": np.array(self.hand_in_proprio)} if told else {}

    def conditions(self) -> dict[str, float]:
        """The numbers that randomisation chose for this episode."""
        return dict(self._conditions.current)

    def model_xml(self) -> str:
        """The scene as built, in MuJoCo's own format; an episode's :meth:`conditions` change it."""
        return self.physics.scene.spec.to_xml()

    def render(self, camera: str = "front", size: tuple[int, int] | None = None) -> np.ndarray:
        """uint8 [H, W, 3]."""
        if camera not in CAMERAS:
            raise unknown("camera", camera, CAMERAS)
        return self.painter(self.physics.data, camera, size or self._size, for_people=True)

    def get_state(self) -> np.ndarray:
        """Everything, float64 [S]: physics, controller, goal, conditions, what is remembered."""
        if not self._conditions.current:
            raise EnvError(
                "no episode has begun, so there is no state to keep: call reset() first."
            )
        counts, latches = [self._steps, self._held], [self._grasped, self._lifted, self._dropped]
        return np.concatenate(
            [
                self.physics.get_state(),
                self.controller.to_vector(),
                self.goal.to_vector(),
                [self._conditions.current[name] for name in randomisation.NAMES],
                [*counts, *latches, self._over, self.episode],
                [self._violated] if self.task.violation else [],
            ]
        )

    def set_state(self, state: np.ndarray) -> None:
        """Go back to what :meth:`get_state` gave, in this or another environment of the same task."""
        sizes = [
            self.physics.state_size,
            self.controller.size,
            self.task.goal_size,
            len(randomisation.NAMES),
            8 if self.task.violation else 7,
        ]
        state = np.asarray(state, np.float64)
        if state.shape != (sum(sizes),):
            raise EnvError(
                f"a state of shape {state.shape} is not one of task {self.name!r}: expected "
                f"({sum(sizes)},), as get_state() returns it."
            )
        physics, control, goal, conditions, memory = np.split(state, np.cumsum(sizes)[:-1])
        self._conditions.apply(dict(zip(randomisation.NAMES, conditions.tolist(), strict=True)))
        self.physics.set_state(physics)
        self.controller.from_vector(control)
        self.goal = self.task.goal_from_vector(goal)
        self.task.furnish(self.physics, self.goal)
        self._steps, self._held = int(memory[0]), int(memory[1])
        self._grasped, self._lifted, self._dropped, self._over = map(bool, memory[2:6])
        self.episode = int(memory[6])
        self._violated = bool(memory[7:].any())

    # Inside

    def _place(self, start: Start) -> None:
        physics = self.physics
        physics.reset()
        joints = physics.scene.arm.rest
        for _ in range(4):
            joints = ik.solve(
                physics.kinematics, joints, start.hand_position, geometry.pointing_down(start.hand_yaw),
                joint_low=physics.joint_low, joint_high=physics.joint_high,
                max_change=np.full(len(joints), np.pi), rest=physics.scene.arm.rest,
            )  # fmt: skip
        physics.data.qpos[physics.arm_qpos] = joints
        physics.data.ctrl[physics.arm_actuators] = joints
        if start.object_position is not None:
            physics.place_object(start.object_position, start.object_yaw)
        for i, (position, yaw) in enumerate(start.others, 1):
            physics.place_object(position, yaw, i)
        self.goal = start.goal
        self._show_goal()
        self.task.furnish(self.physics, self.goal)
        physics.forward()
        self.controller.reset()

    def _show_goal(self) -> None:
        kind = self.task.marker
        marked = {"none": 0, "bar": 1, "disc": 1, "ball": 1, "bars": len(self.task.things)}[kind]
        for i in range(marked):
            goal = self.goal.of(i)
            marker = goal.position.copy()
            if kind != "ball":
                marker[2] = 0.0009  # a leaf on the table
            self.physics.place_target(marker, goal.yaw, i)

    def _forget(self) -> None:
        self._steps = self._held = 0
        self._grasped = self._lifted = self._dropped = self._over = self._violated = False

    def _remember(self) -> None:
        physics, task = self.physics, self.task
        if task.violation:
            self._violated |= task.is_violated(physics, self.goal)
        counts = not self._violated and task.is_solved(physics, self.goal)
        self._held = self._held + 1 if counts else 0
        for i in physics.objects:
            held, up = physics.grasped(i), physics.object_height(i) > LIFTED_M
            self._grasped |= held
            self._lifted |= bool(held and up)
            # In the air and in nobody's hand, after having been held there: it falls.
            self._dropped |= (
                self._lifted and physics.is_airborne(i) and not physics.hand_touches_object(i)
            )

    def _check_action(self, action: np.ndarray) -> np.ndarray:
        array = np.asarray(action, np.float32)
        names = self.task.actions.names
        if array.shape != (len(names),):
            raise EnvError(
                f"an action has shape {array.shape}, expected ({len(names)},): {', '.join(names)}."
            )
        if not np.isfinite(array).all():
            bad = [n for n, ok in zip(names, np.isfinite(array), strict=True) if not ok]
            raise EnvError(
                f"an action is not finite in {', '.join(bad)}: expected numbers in [-1, 1]."
            )
        if np.abs(array).max() > 1 + 1e-6:
            raise EnvError(f"an action leaves [-1, 1]: {array.tolist()}; scale it before sending.")
        return array.astype(np.float64)

    def _observe(self) -> dict[str, np.ndarray]:
        observation: dict[str, np.ndarray] = {
            f"image_{camera}": self.painter(self.physics.data, camera, self._size)
            for camera in self._cameras
        }
        vectors = {
            "proprio": proprio.vector(self.physics),
            "goal": self.task.goal_observation(self.goal),
        }
        if self._state_mode:
            vectors["object"] = self._object()
        for name, vector in vectors.items():
            spec: Any = self._specs[name]
            # Clipped so that the bounds are a promise: they become the normalisation.
            bounded = np.minimum(np.maximum(vector, spec.minimum), spec.maximum)
            observation[name] = bounded.astype(np.float32)
        return observation

    def _object(self) -> np.ndarray:
        physics = self.physics
        if not physics.has_object:
            return self.goal.position - physics.hand_position()
        parts: list[Any] = []
        for i, thing in enumerate(self.task.things):
            axis = physics.object_axis(i)
            if not thing.is_directed:
                turn = self.yaw_order * physics.object_yaw(i)
                axis = np.array([np.sin(turn), np.cos(turn), abs(axis[2])])
            parts += [physics.object_position(i), axis, physics.object_velocity(i)[:3]]
        return np.concatenate(parts)

    def _build_specs(self) -> dict[str, specs.Array]:
        physics, low, high = self.physics, scene.WORKSPACE_LOW_M, scene.WORKSPACE_HIGH_M
        built: dict[str, specs.Array] = {
            f"image_{c}": specs.BoundedArray((*self._size, 3), np.uint8, 0, 255, name=f"image_{c}")
            for c in self._cameras
        }
        built["proprio"] = _bounded("proprio", *proprio.bounds(physics))
        built["goal"] = self.task.goal_spec()
        if self._state_mode:
            bounds = [*low[:2] - 0.05, 0.0], [*high[:2] + 0.05, high[2]]
            if physics.has_object:
                things = self.task.things
                lowest = [
                    [*bounds[0], -1, -1, -1 if t.is_directed else 0, -1, -1, -1] for t in things
                ]
                highest = [*bounds[1], 1, 1, 1, 1, 1, 1] * len(things)
                built["object"] = _bounded("object", np.concatenate(lowest), highest)
            else:
                built["object"] = _bounded("object", low - high, high - low)
        return built

    def _build_privileged_specs(self) -> dict[str, specs.Array]:
        low = scene.WORKSPACE_LOW_M - [0.05, 0.05, 0.012]
        high = scene.WORKSPACE_HIGH_M + [0.05, 0.05, 0.0]
        if not self.task.things:
            return {"object_position": _bounded("object_position", low, high)}
        built: dict[str, specs.Array] = {}
        for thing in self.task.things:
            position = f"{thing.name}_position"
            built[position] = _bounded(position, low, high)
            n, kind = (3, "rotation") if thing.is_directed else (2, "yaw")
            turn = f"{thing.name}_{kind}"
            built[turn] = _bounded(turn, [-1] * n, [1] * n)
        built["contact"] = _bounded("contact", [0, 0], [1, 1])
        built["slip"] = _bounded("slip", [0], [1])
        return built


def _bounded(name: str, low: Any, high: Any) -> specs.BoundedArray:
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return specs.BoundedArray(low.shape, np.float32, low, high, name=name)
