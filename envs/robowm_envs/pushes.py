"""Somebody knocks against the object or the arm, once, in the middle of an episode.

Demonstrations have it only where they are asked to: else it tests what an agent does about what it never saw.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from robowm_envs.errors import unknown
from robowm_envs.physics import Physics

PUSHES = ("none", "object", "arm")
STEPS = (8, 32)  # when: on the way there, in the grasp, or just after
SLIDE_M = (0.03, 0.07)  # how far a knocked object slides on the table
SPIN_RAD_S = 6.0
FORCE_N = (60.0, 120.0)  # on the hand
LASTS_STEPS = 3
_GRAVITY = 9.81


@dataclasses.dataclass(frozen=True)
class Push:
    """Attributes:
    step: control step at whose beginning it comes.
    heading: rad, in the horizontal plane.
    size: in [0, 1], between the least and the largest.
    spin: in [-1, 1], of the object's turning.
    """

    kind: str
    step: int
    heading: float
    size: float
    spin: float

    def apply(self, physics: Physics, step: int, friction: float) -> None:
        """To be called at the beginning of each control step."""
        along = np.array([np.cos(self.heading), np.sin(self.heading), 0.0])
        if self.kind == "object" and step == self.step:
            slide = SLIDE_M[0] + self.size * (SLIDE_M[1] - SLIDE_M[0])
            speed = np.sqrt(2 * friction * _GRAVITY * slide)
            physics.knock_object(speed * along, SPIN_RAD_S * self.spin)
        elif self.kind == "arm" and step in (self.step, self.step + LASTS_STEPS):
            force = FORCE_N[0] + self.size * (FORCE_N[1] - FORCE_N[0])
            physics.push_hand(force * along if step == self.step else np.zeros(3))


def draw_push(kind: str, episode: int) -> Push:
    """That of the episode of this number, whatever its task and split."""
    rng = np.random.default_rng([episode, PUSHES.index(check_push(kind))])
    step = int(rng.integers(STEPS[0], STEPS[1] + 1))
    heading, size, spin = rng.uniform([-np.pi, 0.0, -1.0], [np.pi, 1.0, 1.0])
    return Push(kind, step, float(heading), float(size), float(spin))


def check_push(kind: str) -> str:
    if kind not in PUSHES:
        raise unknown("push", kind, PUSHES)
    return kind
