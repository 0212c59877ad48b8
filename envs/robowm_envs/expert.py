"""A scripted demonstrator that looks at the true state and recovers from what it did not expect.

It remembers nothing: geometry alone decides what to do next, so that a push, a slip or a burst of
noise leads back to the phase that fits, not to a plan that no longer does.

And it is made to be learned from. What it wants is a continuous function of the state wherever it can
be: the hand descends as far as it is aligned, and no threshold separates "align" from "descend". A
policy that imitates a threshold averages its two sides and stands still at it (docs/findings.md).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from robowm_envs import controller, geometry, scene, turnover
from robowm_envs.env import ManipulationEnv
from robowm_envs.errors import EnvError
from robowm_envs.tasks import Goal
from robowm_envs.tasks.keep_out import GoalBeyond
from robowm_envs.tasks.sort import Places
from robowm_envs.tasks.stack import Stack

ABOVE_M = 0.09  # of the object's middle, where a hand that is not aligned waits
CARRY_M = 0.085  # height of the object's middle on its way over the table
CARRY_OVER_M = 0.055  # over where it shall lie on something
CARRY_PAST_M = 0.115  # past others, which even a hand that is pushed shall not brush
BETWEEN_M = 0.05  # an object this near to the tool point has the fingers at its sides
OVER_ZONE_M = 0.045
RETREAT_M = 0.16
GRASP_BELOW_M = 0.002  # the pads hold the box a little below its middle
# A bar that lies this well is let go: less than the task asks for, but not much less, or what counts
# would be lifted again, and a policy that imitates that waits over such a bar.
CONTENT_M, CONTENT_RAD = 0.017, np.deg2rad(8.5)
GAIN = 0.6  # share of the way that one step asks for: a deadbeat hand is hard to imitate
FASTEST = 0.8  # of what an action may ask for
YAW_REACH_RAD = scene.YAW_LIMIT_RAD - 0.02
# How far beyond it a turn may end that has almost come there: an object that yields a little in the
# grasp would else change the side to turn to, again and again.
OVERREACH_RAD = 0.06
_MISTAKES = 9  # keeps its draws apart from others of the same episode


@dataclasses.dataclass(frozen=True)
class Aim:
    """How exactly the hand aims, above an object and with one above its goal."""

    aligned_m: float
    aligned_rad: float
    close_m: float
    close_rad: float
    close_height_m: float

    def amiss(self, across_m: float, turn_rad: float) -> float:
        """How far from aligned, in [0, 1]: 0 where aligned, 1 some centimetres beyond."""
        turn = (abs(turn_rad) - self.aligned_rad) / np.deg2rad(25)
        return float(np.clip(max((across_m - self.aligned_m) / 0.035, turn), 0.0, 1.0))


AIM = Aim(0.006, np.deg2rad(4), 0.012, np.deg2rad(9), 0.012)
# Among several objects a hand that shakes, or that another object hinders, shall not wait for the
# best moment for ever.
AIM_AMONG_OTHERS = Aim(0.012, np.deg2rad(6), 0.018, np.deg2rad(12), 0.016)


@dataclasses.dataclass(frozen=True)
class Way:
    """How high things go, for those that are not aligned yet.

    Attributes:
      above_m: of the object's middle, where the hand waits.
      carry_m: of the object's middle over the table.
      free_m: from which height on it may be carried sideways.
      steepness: how much sooner than usual what is out of line goes up.
    """

    above_m: float = ABOVE_M
    carry_m: float = CARRY_M
    free_m: float = 0.01
    steepness: float = 1.0


class Expert:
    """Acts on ``env`` from its true state; it takes the observation only to look like an agent."""

    def __init__(self, env: ManipulationEnv):
        self._env = env
        # With one object all goes as it did: what was demonstrated there stays what it was.
        alone = len(env.physics.objects) <= 1
        self._aim = AIM if alone else AIM_AMONG_OTHERS
        self._overreach = 0.0 if alone else OVERREACH_RAD
        try:
            self._decide = {
                "reach": self._reach,
                "grasp": self._grasp,
                "grasp_rotate_place": self._place,
                "slip": self._place,
                "keep_out": self._keep_out,
                "stack": self._stack,
                "sort": self._sort,
                "reorient": lambda: turnover.decide(env.physics, env.goal),
            }[env.name]
        except KeyError:
            raise EnvError(
                f"there is no expert for task {env.name!r}: collect with another behaviour."
            ) from None

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """The action float32 [A] in [-1, 1] that fits the present state."""
        return self._decide()

    # Tasks

    def _reach(self) -> np.ndarray:
        physics, goal = self._env.physics, self._env.goal
        return _action(goal.position - physics.hand_position(), -physics.hand_yaw(), closed=False)

    def _grasp(self) -> np.ndarray:
        physics = self._env.physics
        if not physics.grasped():
            return self._take()
        rise = self._env.goal.position[2] - physics.object_position()[2]
        return _action(np.array([0.0, 0.0, rise]), 0.0, closed=True)

    def _place(self) -> np.ndarray:
        return self._put(0, self._env.goal)

    def _keep_out(self) -> np.ndarray:
        """Over the zone: all ways lead above it, and only what is aligned goes down."""
        goal = self._env.goal
        assert isinstance(goal, GoalBeyond)
        top = 2 * goal.zone.half_size[2]
        way = Way(top + OVER_ZONE_M, top + OVER_ZONE_M, top, steepness=3.0)
        return self._put(0, goal, way)

    def _stack(self) -> np.ndarray:
        task = self._env.task
        assert isinstance(task, Stack)
        target = task.target(self._env.physics, self._env.goal)
        return self._put(0, target, Way(carry_m=target.position[2] + CARRY_OVER_M))

    def _sort(self) -> np.ndarray:
        """The first, in the order told, that does not yet lie well."""
        physics, goal = self._env.physics, self._env.goal
        assert isinstance(goal, Places)
        i = next((i for i in goal.order if not self._lies_well(i, goal.of(i))), None)
        if i is None:
            return self._leave()
        other = self._between_fingers()
        if other not in (None, i):
            can_lower = physics.is_airborne(other) and not self._is_lowest()
            return self._set_down() if can_lower else self._leave()
        return self._put(i, goal.of(i), Way(carry_m=CARRY_PAST_M))

    # Judgement

    def _lies_well(self, i: int, goal: Goal) -> bool:
        physics = self._env.physics
        away, turn = self._off(i, goal)
        lies = self._is_lowest() or physics.object_on_table(i) or abs(away[2]) < 0.004
        return bool(lies and np.linalg.norm(away[:2]) < CONTENT_M and abs(turn) < CONTENT_RAD)

    def _is_lowest(self) -> bool:
        """At the bottom of its reach a hand that holds a box low can only let it drop: millimetres."""
        return bool(self._env.physics.hand_position()[2] < scene.WORKSPACE_LOW_M[2] + 0.004)

    def _off(self, i: int, goal: Goal) -> tuple[np.ndarray, float]:
        """What object ``i`` lacks to its goal: a way [3] and a turn."""
        physics = self._env.physics
        turn = geometry.wrap(goal.yaw - physics.object_yaw(i), np.pi)
        return goal.position - physics.object_position(i), turn

    def _between_fingers(self) -> int | None:
        """The object that the hand is around, and must not move sideways with."""
        physics, hand = self._env.physics, self._env.physics.hand_position()
        away = [physics.object_position(i) - hand for i in physics.objects]
        across = [float(np.linalg.norm(a[:2])) for a in away]
        i = int(np.argmin(across))
        return i if across[i] < BETWEEN_M and away[i][2] > -BETWEEN_M else None

    # Phases

    def _put(self, i: int, goal: Goal, way: Way | None = None) -> np.ndarray:
        """Object ``i`` to its goal, whatever stage that is at."""
        way = way or Way()
        if self._lies_well(i, goal):
            return self._leave()
        if not self._env.physics.grasped(i):
            return self._take(i, way)
        return self._carry(i, goal, way)

    def _take(self, i: int = 0, way: Way | None = None) -> np.ndarray:
        """Above the object, turned across its short side; down as far as aligned; close."""
        physics, way = self._env.physics, way or Way()
        thing, yaw = physics.object_position(i), physics.hand_yaw()
        away = thing - physics.hand_position()
        turn = _nearest(yaw, physics.object_yaw(i) - yaw, self._overreach)
        across, width = float(np.linalg.norm(away[:2])), physics.gripper_width()
        aim = self._aim
        near = across < aim.close_m and abs(away[2]) < aim.close_height_m
        if near and abs(turn) < aim.close_rad:
            return _action(away - np.array([0.0, 0.0, GRASP_BELOW_M]), turn, closed=True)
        shut = np.clip((0.062 - width) / 0.02, 0.0, 1.0)  # fingers open before they go down
        amiss = max(min(1.0, way.steepness * aim.amiss(across, turn)), shut)
        rise = away[2] + amiss * way.above_m - (1 - amiss) * GRASP_BELOW_M
        # Low beside the object: rise first, lest the fingers push it along.
        freedom = np.clip(1.0 - (rise - 0.01) / 0.03, 0.1, 1.0)
        return _action(np.array([*freedom * away[:2], rise]), freedom * turn, closed=False)

    def _carry(self, i: int, goal: Goal, way: Way) -> np.ndarray:
        """Lift, move and turn, lower as far as it fits."""
        away, turn = self._off(i, goal)
        turn = _nearest(self._env.physics.hand_yaw(), turn, self._overreach)
        across = float(np.linalg.norm(away[:2]))
        amiss = min(1.0, way.steepness * self._aim.amiss(across, turn))
        height = -away[2]
        rise = amiss * (way.carry_m + away[2] - goal.position[2]) + (1 - amiss) * away[2]
        # Over the table first: nothing is dragged far.
        freedom = max(np.clip((height - way.free_m) / 0.03, 0.0, 1.0), 1 - amiss)
        move = np.array([*freedom * away[:2], rise - 0.002])
        return _action(move, freedom * turn, closed=True)

    def _set_down(self) -> np.ndarray:
        """What should not be in the hand, wherever that is."""
        return _action(np.array([0.0, 0.0, -0.03]), 0.0, closed=True)

    def _leave(self) -> np.ndarray:
        """Open, then straight up, then wait."""
        physics = self._env.physics
        is_open = np.clip((physics.gripper_width() - 0.055) / 0.012, 0.0, 1.0)
        rise = is_open * max(0.0, RETREAT_M - physics.hand_position()[2])
        return _action(np.array([0.0, 0.0, rise]), 0.0, closed=False)


class MistakenExpert:
    """An expert that for a while takes the goal for another: it drives where data shall show what
    that costs and how it is mended, while the labels are those of an :class:`Expert`.

    A model that has only seen things done in the right order cannot know that another one is worse.
    """

    def __init__(self, env: ManipulationEnv):
        self._env, self._expert = env, Expert(env)

    def reset(self) -> None:
        """Draw, from the episode's number, the goal to mistake this one for, and when."""
        env = self._env
        rng = np.random.default_rng([env.episode, _MISTAKES])
        mistaken = env.task.mistaken(env.goal, rng)
        if mistaken is None:
            raise EnvError(
                f"task {env.name!r} has no goal that could be mistaken for another: let somebody else "
                "drive."
            )
        self._mistaken = mistaken
        latest = (
            0 if rng.random() < 0.5 else env.time_limit_steps // 4
        )  # the quarter that an episode takes
        self._begin = int(rng.integers(latest + 1))
        self._end = self._begin + int(rng.integers(10, 61))
        self._step = 0

    def act(self, observation: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """The action float32 [A] in [-1, 1] that fits the present state, and the goal or its other."""
        env, goal = self._env, self._env.goal
        if self._begin <= self._step < self._end:
            env.goal = self._mistaken
        self._step += 1
        try:
            return self._expert.act(observation)
        finally:
            env.goal = goal


def _nearest(yaw: float, turn: float, overreach: float) -> float:
    """The turn that leaves a bar as ``turn`` would, is nearest and within the wrist's reach."""
    turn = geometry.wrap(turn, np.pi)
    options = [
        turn + k * np.pi
        for k in (-1, 0, 1)
        if abs(yaw + turn + k * np.pi)
        <= YAW_REACH_RAD + overreach * max(0.0, 1 - abs(turn / np.pi + k))
    ]
    return min(options, key=abs, default=turn)


def _action(move_m: np.ndarray, turn_rad: float, *, closed: bool) -> np.ndarray:
    """A share of the way, in a straight line."""
    move = GAIN * move_m / controller.UPRIGHT.scale[:3]
    move = move * min(1.0, FASTEST / max(float(np.abs(move).max()), 1e-9))
    turn = np.clip(GAIN * turn_rad / controller.UPRIGHT.scale[3], -FASTEST, FASTEST)
    return np.array([*move, turn, 1.0 if closed else -1.0], np.float32)
