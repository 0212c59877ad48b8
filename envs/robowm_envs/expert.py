"""A scripted demonstrator that looks at the true state and recovers from what it did not expect.

It remembers nothing: geometry alone decides what to do next, so that a push, a slip or a burst of
noise leads back to the phase that fits, not to a plan that no longer does.

And it is made to be learned from. What it wants is a continuous function of the state wherever it can
be: the hand descends as far as it is aligned, and no threshold separates "align" from "descend". A
policy that imitates a threshold averages its two sides and stands still at it (docs/findings.md).
"""

from __future__ import annotations

import numpy as np

from robowm_envs import controller, geometry, scene, turnover
from robowm_envs.env import ManipulationEnv
from robowm_envs.errors import EnvError

ABOVE_M = 0.09  # of the object's middle, where a hand that is not aligned waits
CARRY_M = 0.085  # height of the object's middle on its way
RETREAT_M = 0.16
GRASP_BELOW_M = 0.002  # the pads hold the box a little below its middle
# A bar that lies this well is let go: less than the task asks for, but not much less, or what counts
# would be lifted again, and a policy that imitates that waits over such a bar.
CONTENT_M, CONTENT_RAD = 0.017, np.deg2rad(8.5)
GAIN = 0.6  # share of the way that one step asks for: a deadbeat hand is hard to imitate
FASTEST = 0.8  # of what an action may ask for
YAW_REACH_RAD = scene.YAW_LIMIT_RAD - 0.02


class Expert:
    """Acts on ``env`` from its true state; it takes the observation only to look like an agent."""

    def __init__(self, env: ManipulationEnv):
        self._env = env
        try:
            self._decide = {
                "reach": self._reach,
                "grasp": self._grasp,
                "grasp_rotate_place": self._place,
                "slip": self._place,
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
        physics, goal = self._env.physics, self._env.goal
        away = goal.position - physics.object_position()
        turn = geometry.wrap(goal.yaw - physics.object_yaw(), np.pi)
        # At the bottom of its reach a hand that holds the box low can only let it drop: millimetres.
        lowest = physics.hand_position()[2] < scene.WORKSPACE_LOW_M[2] + 0.004
        lies = lowest or physics.object_on_table() or abs(away[2]) < 0.004
        fits = np.linalg.norm(away[:2]) < CONTENT_M and abs(turn) < CONTENT_RAD
        if lies and fits:
            return self._leave()
        if not physics.grasped():
            return self._take()
        return self._carry(away, turn)

    # Phases

    def _take(self) -> np.ndarray:
        """Above the object, turned across its short side; down as far as aligned; close."""
        physics = self._env.physics
        thing, yaw = physics.object_position(), physics.hand_yaw()
        away = thing - physics.hand_position()
        turn = _nearest(yaw, physics.object_yaw() - yaw)
        across, width = float(np.linalg.norm(away[:2])), physics.gripper_width()
        if across < 0.012 and abs(turn) < np.deg2rad(9) and abs(away[2]) < 0.012:
            return _action(away - np.array([0.0, 0.0, GRASP_BELOW_M]), turn, closed=True)
        shut = np.clip((0.062 - width) / 0.02, 0.0, 1.0)  # fingers open before they go down
        amiss = max(_amiss(across, turn), shut)
        rise = away[2] + amiss * ABOVE_M - (1 - amiss) * GRASP_BELOW_M
        # Low beside the object: rise first, lest the fingers push it along.
        freedom = np.clip(1.0 - (rise - 0.01) / 0.03, 0.1, 1.0)
        return _action(np.array([*freedom * away[:2], rise]), freedom * turn, closed=False)

    def _carry(self, away: np.ndarray, turn: float) -> np.ndarray:
        """Lift, move and turn, lower as far as it fits. ``away`` and ``turn`` are the object's."""
        turn = _nearest(self._env.physics.hand_yaw(), turn)
        amiss = _amiss(float(np.linalg.norm(away[:2])), turn)
        height = -away[2]
        rise = amiss * (CARRY_M + away[2] - self._env.goal.position[2]) + (1 - amiss) * away[2]
        # Over the table first: nothing is dragged far.
        freedom = max(np.clip((height - 0.01) / 0.03, 0.0, 1.0), 1 - amiss)
        move = np.array([*freedom * away[:2], rise - 0.002])
        return _action(move, freedom * turn, closed=True)

    def _leave(self) -> np.ndarray:
        """Open, then straight up, then wait."""
        physics = self._env.physics
        is_open = np.clip((physics.gripper_width() - 0.055) / 0.012, 0.0, 1.0)
        rise = is_open * max(0.0, RETREAT_M - physics.hand_position()[2])
        return _action(np.array([0.0, 0.0, rise]), 0.0, closed=False)


def _amiss(across_m: float, turn_rad: float) -> float:
    """How far from aligned, in [0, 1]: 0 within 6 mm and 4 degrees, 1 some centimetres beyond."""
    turn = (abs(turn_rad) - np.deg2rad(4)) / np.deg2rad(25)
    return float(np.clip(max((across_m - 0.006) / 0.035, turn), 0.0, 1.0))


def _nearest(yaw: float, turn: float) -> float:
    """The turn that leaves a bar as ``turn`` would, is nearest and within the wrist's reach."""
    turn = geometry.wrap(turn, np.pi)
    options = [turn + k * np.pi for k in (-1, 0, 1) if abs(yaw + turn + k * np.pi) <= YAW_REACH_RAD]
    return min(options, key=abs, default=turn)


def _action(move_m: np.ndarray, turn_rad: float, *, closed: bool) -> np.ndarray:
    """A share of the way, in a straight line."""
    move = GAIN * move_m / controller.UPRIGHT.scale[:3]
    move = move * min(1.0, FASTEST / max(float(np.abs(move).max()), 1e-9))
    turn = np.clip(GAIN * turn_rad / controller.UPRIGHT.scale[3], -FASTEST, FASTEST)
    return np.array([*move, turn, 1.0 if closed else -1.0], np.float32)
