"""Films of imagination: the model sees an episode up to a moment, and imagines the rest of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from robowm.errors import UserError
from robowm.evaluation.open_loop import decoded_images, imagine, posterior_states
from robowm.evaluation.pictures import (
    IMAGINED,
    OBSERVED,
    Frames,
    Image,
    above,
    beside,
    difference,
    enlarge,
    framed,
    text,
    truth_imagined_difference,
)
from robowm.models.protocol import WorldModel
from robowm.spec import POSITION, TaskSpec

if TYPE_CHECKING:
    from robowm.data.episode import Episode

STILL_M = 0.01  # an object that is nearer than this to where it began has not moved
_NAMES_WIDTH = 84


@dataclasses.dataclass
class FilmConfig:
    """Attributes:
    count: films, each of another episode.
    ahead: imagined steps, at most.
    before: steps from the start of imagination to the moment when the object begins to move; the
      first film imagines from the episode's beginning instead.
    scale: a pixel of the model's side by side.
    columns: moments in the strip of each film.
    """

    count: int = 3
    ahead: int = 40
    before: int = 3
    scale: int = 4
    columns: int = 8

    def __post_init__(self) -> None:
        if self.count < 0 or self.before < 0 or min(self.ahead, self.scale, self.columns) < 1:
            raise UserError(
                f"film.count is {self.count}, before {self.before}, ahead {self.ahead}, scale "
                f"{self.scale}, columns {self.columns}: give 0 or more of the first two and at least 1 "
                "of the others."
            )


@dataclasses.dataclass
class Film:
    """Pictures [T, H, W, 3] by camera, as they were and as the model had them.

    Attributes:
      observed: how many of the T the model had seen; the others it imagined.
    """

    truth: dict[str, Frames]
    believed: dict[str, Frames]
    observed: int

    def frames(self, scale: int = 4) -> Frames:
        """Truth | imagined | difference, one camera above the other."""
        rows = [
            truth_imagined_difference(
                self.truth[camera], self.believed[camera], self.observed, scale
            )
            for camera in self.truth
        ]
        return np.concatenate(rows, axis=1)

    def strip(self, camera: str, columns: int = 8, scale: int = 2) -> Image:
        """The last seen moment and imagined ones, evenly in time; truth, imagined, difference."""
        last = len(self.truth[camera]) - 1
        moments = np.unique(np.linspace(self.observed - 1, last, columns).round().astype(int))
        truth, believed = self.truth[camera][moments], self.believed[camera][moments]
        heads = ["seen", *(f"+{t - self.observed + 1}" for t in moments[1:])]
        names = {"truth": truth, "imagined": believed, "difference": difference(truth, believed)}
        lines = []
        for name, row in names.items():
            colours = (OBSERVED, *[IMAGINED] * (len(row) - 1))
            shown = [framed(i, c, 2) for i, c in zip(enlarge(row, scale), colours, strict=True)]
            lines.append(beside([text(name, _NAMES_WIDTH, shown[0].shape[0]), *shown]))
        width = shown[0].shape[1]
        top = beside([text("", _NAMES_WIDTH), *(text(head, width) for head in heads)])
        return above([top, *lines])


def film_imagination(
    model: WorldModel, episode: Episode, spec: TaskSpec, start: int, ahead: int
) -> Film:
    """The belief follows the observations up to step ``start``, then the actions alone.

    The film ends ``ahead`` steps later, or with the episode.
    """
    end = min(start + ahead, len(episode))
    states = posterior_states(model, episode)[: start + 1]
    states += imagine(model, states[start], episode.actions[None, start:end])
    truth = {name: episode.observations[name][: end + 1] for name in spec.images}
    believed = {name: decoded_images(model, states, name) for name in spec.images}
    return Film(truth, believed, start + 1)


def before_it_moves(episode: Episode, context: int, before: int) -> int:
    """The step ``before`` steps ahead of the object's first motion, but not within the context."""
    first = context - 1
    if POSITION not in episode.privileged:
        return first
    position = episode.privileged[POSITION]
    moved = np.linalg.norm(position - position[0], axis=-1) > STILL_M
    return max(first, int(moved.argmax()) - before) if moved.any() else first
