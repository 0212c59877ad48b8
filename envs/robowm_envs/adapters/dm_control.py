"""Tasks of dm_control's suite and manipulation collections, behind this package's interface.

``reacher_easy`` is the suite's domain and task joined by an underscore; ``reach_site_vision`` is a
manipulation task under its own name. What changes on the way:

- actions are rescaled from the task's bounds to [-1, 1];
- every observable that is not a picture is flattened into ``proprio``, and ``image_front`` is drawn
  from the task's first camera. The suite's observables tell where things are, so that the suite
  from pixels alone is not what this is; the manipulation tasks named ``*_vision`` show their
  pictures and the arm's own joints, nothing else;
- shadows and multisampling are off: in software rendering they are most of a picture's cost;
- there is no ``goal``, and nothing privileged;
- success is a reward of at least 0.9 at the present state (dm_control's rewards lie in [0, 1], by
  its convention; a few of the suite's older tasks leave that range).

Source: Tunyasuvunakool et al., "dm_control: Software and tasks for continuous control", 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dm_env
import mujoco
import numpy as np
from dm_control import manipulation, suite
from dm_env import specs

from robowm_envs.errors import EnvError, unknown

SUITE = {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}
TASKS = (*SUITE, *manipulation.ALL)
SPLITS = ("train", "validation", "test")
SUCCESS_REWARD = 0.9
UNLIMITED_STEPS = 1000  # the length given to tasks that have none of their own
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_HEADER = 4  # episode, step, reward, whether the episode is over


def make(
    task: str,
    *,
    observation: str = "pixels",
    split: str = "train",
    seed: int = 0,
    cameras: Sequence[str] = ("front",),
    image_size: int = 64,
) -> DMControlEnv:
    """Build one by name.

    Args:
      task: one of :data:`TASKS`.
      observation: ``"pixels"`` (``image_front`` and ``proprio``) or ``"state"`` (``proprio``).
      split: one of :data:`SPLITS`; the episodes of two splits are never the same.
      seed: number of the first episode.
      cameras: must hold ``"front"`` where pictures are wanted; dm_control's tasks have no wrist
        camera, and names other than ``"front"`` are passed over.
      image_size: edge of the picture, pixels.

    Raises:
      EnvError: an unknown task, split or observation mode.
    """
    if task not in TASKS:
        raise unknown("dm_control task", task, TASKS)
    if split not in SPLITS:
        raise unknown("split of a dm_control task", split, SPLITS)
    if observation not in ("pixels", "state"):
        raise unknown("observation mode", observation, ("pixels", "state"))
    if observation == "pixels" and "front" not in cameras:
        raise EnvError(
            f"dm_control task {task!r} is drawn by the camera 'front' alone, which is not among "
            f"{list(cameras)}: add it, or choose observation='state'."
        )
    if task in SUITE:
        env = suite.load(*SUITE[task], task_kwargs={"random": 0})
        limit = env._step_limit
        random = env.task.random
    else:
        env = manipulation.load(task, seed=0)
        limit = env._time_limit / env.control_timestep()
        random = env.random_state
    # Steps are counted here, where set_state can turn them back.
    env._step_limit = env._time_limit = float("inf")
    return DMControlEnv(
        env,
        random,
        name=f"dm_control/{task}",
        time_limit_steps=round(limit) if np.isfinite(limit) else UNLIMITED_STEPS,
        split=split,
        seed=seed,
        image_size=image_size if observation == "pixels" else None,
    )


class DMControlEnv(dm_env.Environment):
    """A dm_control environment with the additions of :class:`robowm_envs.ManipulationEnv`.

    Attributes:
      name: ``dm_control/<task>``.
      action_scale: [A] half the range of the task's own actions, in the task's units.
      yaw_order: 1, unused: nothing is known of an object.
      control_dt_s: seconds between actions.
      time_limit_steps: actions in an episode.
    """

    yaw_order = 1

    def __init__(
        self,
        env: Any,
        random: np.random.RandomState,
        *,
        name: str,
        time_limit_steps: int,
        split: str,
        seed: int,
        image_size: int | None,
    ):
        """Wrap ``env``, which draws from ``random`` alone; no pictures where the size is None."""
        self.name = name
        self.time_limit_steps = time_limit_steps
        self.control_dt_s = float(env.control_timestep())
        self._env, self._random = env, random
        self._split_id = SPLITS.index(split)
        self._next_episode = seed
        self._image_size = image_size
        self._step, self._reward, self._over = 0, 0.0, True

        action = env.action_spec()
        low = np.broadcast_to(action.minimum, action.shape)
        high = np.broadcast_to(action.maximum, action.shape)
        bounded = np.isfinite(low) & np.isfinite(high)
        self._centre = np.where(bounded, (np.nan_to_num(low) + np.nan_to_num(high)) / 2, 0.0)
        self.action_scale = np.where(bounded, (np.nan_to_num(high) - np.nan_to_num(low)) / 2, 1.0)
        self._action_spec = specs.BoundedArray(
            action.shape, np.float32, -1.0, 1.0, name="\t".join(_action_names(env))
        )
        for observable in getattr(env.task, "observables", {}).values():
            if getattr(observable, "height", None) is not None:
                observable.enabled = False  # this class draws its own picture, of its own size
        self._restart(seed)
        size = sum(np.size(value) for value in self._seen.values())
        self._observation_spec: dict[str, specs.Array] = {
            "proprio": specs.BoundedArray((size,), np.float32, -np.inf, np.inf, name="proprio")
        }
        if image_size is not None:
            self._observation_spec["image_front"] = specs.BoundedArray(
                (image_size, image_size, 3), np.uint8, 0, 255, name="image_front"
            )

    # -- dm_env ------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> dm_env.TimeStep:
        """Begin episode number ``seed`` of the split, or the next one where it is None."""
        self._restart(self._next_episode if seed is None else int(seed))
        return dm_env.restart(self._observation())

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Act for ``control_dt_s``; after the last step of an episode, begin the next one.

        Raises:
          EnvError: ``action`` is not [A] finite numbers in [-1, 1].
        """
        if self._over:
            return self.reset()
        step = self._env.step(self._centre + self.action_scale * self._validated(action))
        self._seen = step.observation
        self._step += 1
        self._reward = float(step.reward)
        self._over = step.last() or self._step >= self.time_limit_steps
        if step.last():
            return dm_env.TimeStep(
                dm_env.StepType.LAST, self._reward, float(step.discount), self._observation()
            )
        finish = dm_env.truncation if self._over else dm_env.transition
        return finish(self._reward, self._observation())

    def action_spec(self) -> specs.BoundedArray:
        return self._action_spec

    def observation_spec(self) -> Mapping[str, specs.Array]:
        return dict(self._observation_spec)

    def close(self) -> None:
        self._env.close()

    # -- this package's additions ------------------------------------------------------------------

    def privileged_spec(self) -> Mapping[str, specs.Array]:
        return {}

    def privileged(self) -> dict[str, np.ndarray]:
        return {}

    def metrics(self) -> dict[str, float]:
        """``success`` (reward >= 0.9 at the present state) and ``reward``."""
        return {"success": float(self._reward >= SUCCESS_REWARD), "reward": self._reward}

    def get_state(self) -> np.ndarray:
        """[S] float64: episode, step, reward, over, sensors, then MuJoCo's integration state.

        Tasks draw random numbers at the start of an episode only, and what they then change in the
        model follows from the episode's number, so that the number stands for all of it.
        """
        model, data = self._pointers()
        header = [self._episode, self._step, self._reward, self._over]
        physics = np.empty(mujoco.mj_stateSize(model, _STATE))
        mujoco.mj_getState(model, data, physics, _STATE)
        return np.concatenate([header, data.sensordata, physics])

    def set_state(self, state: np.ndarray) -> None:
        """Restore what :meth:`get_state` returned, so that what follows is the same to the bit."""
        state = np.asarray(state, np.float64)
        expected = self.get_state().shape
        if state.shape != expected:
            raise EnvError(
                f"a state of {self.name} has shape {state.shape}, expected {expected}: "
                "restore it in the task that it was saved in."
            )
        self._restart(int(state[0]))
        self._step, self._reward, self._over = int(state[1]), float(state[2]), bool(state[3])
        model, data = self._pointers()
        sensors, physics = np.split(state[_HEADER:], [model.nsensordata])
        mujoco.mj_setState(model, data, physics, _STATE)
        mujoco.mj_forward(model, data)
        # The step left its warm start and, in the sensors, its last accelerations; mj_forward,
        # which is here for positions and velocities, has computed other ones.
        mujoco.mj_setState(model, data, physics, _STATE)
        data.sensordata[:] = sensors
        self._seen = self._look()

    def render(self, camera: str = "front", size: tuple[int, int] = (64, 64)) -> np.ndarray:
        """uint8 [H, W, 3] from ``"front"`` (the task's first) or a camera of the task's own."""
        names = self._camera_names()
        if camera != "front" and camera not in names:
            raise unknown(f"camera of {self.name}", camera, ("front", *names))
        index = 0 if camera == "front" and "front" not in names else names.index(camera)
        height, width = size
        return self._env.physics.render(height, width, camera_id=index if names else -1).copy()

    # -- inside ------------------------------------------------------------------------------------

    def _restart(self, episode: int) -> None:
        if episode < 0:
            raise EnvError(f"an episode's number is {episode}: it must be 0 or more.")
        sequence = np.random.SeedSequence([self._split_id, episode])
        self._random.seed(sequence.generate_state(4))
        order = getattr(self._env.task, "_initial_order", None)
        if order is not None:  # the reassemble tasks shuffle what their last episode left
            order.sort()
        self._seen = self._env.reset().observation
        self._episode, self._next_episode = episode, episode + 1
        self._step, self._reward, self._over = 0, 0.0, False
        model, _ = self._pointers()
        model.light_castshadow[:] = 0
        model.vis.quality.offsamples = 0

    def _pointers(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        return self._env.physics.model.ptr, self._env.physics.data.ptr

    def _look(self) -> Mapping[str, np.ndarray]:
        """The task's own observation at the present state."""
        updater = getattr(self._env, "_observation_updater", None)
        if updater is None:
            return self._env.task.get_observation(self._env.physics)
        # A composer task keeps a buffer that set_state would leave with the past's numbers.
        updater.reset(self._env.physics, self._random)
        return updater.get_observation()

    def _observation(self) -> dict[str, np.ndarray]:
        flat = [np.ravel(value) for value in self._seen.values()]
        observation = {"proprio": np.concatenate(flat).astype(np.float32)}
        if self._image_size is not None:
            observation["image_front"] = self.render("front", (self._image_size, self._image_size))
        return observation

    def _validated(self, action: Any) -> np.ndarray:
        array = np.asarray(action, np.float64)
        shape = self._action_spec.shape
        if array.shape != shape:
            raise EnvError(f"an action has shape {array.shape}, expected {shape} in [-1, 1].")
        if not np.isfinite(array).all() or np.abs(array).max(initial=0.0) > 1 + 1e-6:
            raise EnvError(
                f"an action is {array.tolist()}: expected finite numbers in [-1, 1], so scale it."
            )
        return np.clip(array, -1.0, 1.0)

    def _camera_names(self) -> list[str]:
        model, _ = self._pointers()
        return [model.camera(i).name or str(i) for i in range(model.ncam)]


def _action_names(env: Any) -> list[str]:
    """Names of a composer task's actions, else of the actuators, else numbers."""
    spec = env.action_spec()
    size = spec.shape[0]
    if spec.name and len(spec.name.split("\t")) == size:
        return spec.name.split("\t")
    model = env.physics.model.ptr
    if model.nu == size:
        return [model.actuator(i).name or f"a{i}" for i in range(size)]
    return [f"a{i}" for i in range(size)]
