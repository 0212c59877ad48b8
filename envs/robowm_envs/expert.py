"""A scripted demonstrator that looks at the true state and recovers from what it did not expect.

It remembers nothing: geometry alone decides what to do next, so that a push, a slip or a burst of
noise leads back to the phase that fits, not to a plan that no longer does.
"""

from __future__ import annotations

import numpy as np

from robowm_envs import controller, geometry, scene
from robowm_envs.env import ManipulationEnv
from robowm_envs.errors import EnvError

ABOVE_M = 0.09  # of the object's middle, where the hand turns before it descends
CARRY_M = 0.085  # height of the object's middle on its way
RETREAT_M = 0.16
REACHED_M, REACHED_RAD = 0.008, np.deg2rad(4)
GRASP_BELOW_M = 0.002  # the pads hold the box a little below its middle
OPEN_WIDTH_M = 0.068
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
            }[env.name]
        except KeyError:
            raise EnvError(
                f"there is no expert for task {env.name!r}: collect with another behaviour."
            ) from None

    def reset(self) -> None:
        """Nothing to forget."""

    def act(self, observation: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """The action float32 [5] in [-1, 1] that fits the present state."""
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
        return _action(np.array([0.0, 0.0, 0.7 * rise]), 0.0, closed=True)

    def _place(self) -> np.ndarray:
        physics, goal = self._env.physics, self._env.goal
        away = goal.position - physics.object_position()
        turn = geometry.wrap(goal.yaw - physics.object_yaw(), np.pi)
        lies = physics.object_on_table() or abs(away[2]) < 0.004
        fits = np.linalg.norm(away[:2]) < 0.013 and abs(turn) < np.deg2rad(6.5)
        if lies and fits:
            return self._leave()
        if not physics.grasped():
            return self._take()
        return self._carry(away, turn)

    # Phases

    def _take(self) -> np.ndarray:
        """Above the object, turned across its short side; down; close."""
        physics = self._env.physics
        thing, yaw = physics.object_position(), physics.hand_yaw()
        away = thing - physics.hand_position()
        turn = _nearest(yaw, physics.object_yaw() - yaw)
        across, below = np.linalg.norm(away[:2]), np.array([0.0, 0.0, -GRASP_BELOW_M])
        if across < 0.012 and abs(turn) < np.deg2rad(8) and away[2] > -0.010:
            return _action(away + below, turn, closed=True)
        # A funnel: the nearer to the object, the better the hand must be aligned.
        aligned = across < 0.010 + 0.2 * max(0.0, -away[2] - 0.03) and abs(turn) < np.deg2rad(7)
        is_open = physics.gripper_width() > OPEN_WIDTH_M - 0.006
        height = below if aligned and is_open else np.array([0.0, 0.0, ABOVE_M])
        move = away + height
        if not aligned and -away[2] < 0.05:
            # Low beside the object: rise first, lest the fingers push it along.
            move[:2] *= 0.2
        return _action(move, turn, closed=False)

    def _carry(self, away: np.ndarray, turn: float) -> np.ndarray:
        """Lift, move and turn, lower where it belongs. ``away`` and ``turn`` are the object's."""
        physics = self._env.physics
        yaw, height = physics.hand_yaw(), physics.object_position()[2]
        turn = _nearest(yaw, turn)
        # A funnel that widens downwards: what begins to go down goes on.
        slack = 1.0 + np.clip((CARRY_M - height) / 0.05, 0.0, 1.0)
        if np.linalg.norm(away[:2]) < slack * REACHED_M and abs(turn) < slack * REACHED_RAD:
            down = np.clip(away[2] - 0.002, -0.03, 0.0)
            return _action(np.array([*away[:2], down]), turn, closed=True)
        move = np.array([*away[:2], CARRY_M - height])
        # Over the table first: nothing is dragged.
        freedom = np.clip((height - 0.035) / 0.03, 0.0, 1.0)
        move[:2] *= freedom
        return _action(move, turn * freedom, closed=True)

    def _leave(self) -> np.ndarray:
        """Open, then straight up, then wait."""
        physics = self._env.physics
        rise = RETREAT_M - physics.hand_position()[2]
        if physics.gripper_width() < OPEN_WIDTH_M and physics.hand_position()[2] < 0.07:
            rise = 0.0
        return _action(np.array([0.0, 0.0, max(rise, 0.0)]), 0.0, closed=False)


def _nearest(yaw: float, turn: float) -> float:
    """The turn that leaves a bar as ``turn`` would, is nearest and within the wrist's reach."""
    turn = geometry.wrap(turn, np.pi)
    options = [turn + k * np.pi for k in (-1, 0, 1) if abs(yaw + turn + k * np.pi) <= YAW_REACH_RAD]
    return min(options, key=abs, default=turn)


def _action(move_m: np.ndarray, turn_rad: float, *, closed: bool) -> np.ndarray:
    """As much of the way as one step takes, without changing its direction."""
    move = move_m / controller.SCALE[:3]
    move = move / max(1.0, float(np.abs(move).max()))
    turn = np.clip(turn_rad / controller.SCALE[3], -1, 1)
    return np.array([*move, turn, 1.0 if closed else -1.0], np.float32)
