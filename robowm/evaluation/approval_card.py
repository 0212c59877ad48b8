"""A plan that waits for approval, as a picture: what is imagined, and how near it comes to each limit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from robowm.evaluation import pictures
from robowm.evaluation.pictures import IMAGINED, INK, OBSERVED, PAPER, Frames, Image

TILE = 112  # pixels of a frame's side, at least
LINE = 24
BAR = 200
NARROW = 0.2  # of a limit: a margin below is worth a look


def write(folder: Path, card: Mapping[str, Any], frames: Mapping[str, Frames]) -> Path:
    """``folder``/PLAN_ID.png and .json, each whole or not there; returns the picture's path.

    Args:
      card: plain data, as of ``robowm.dispatch.online.approvals.Card.to_dict``.
      frames: uint8 [H + 1, h, w, 3] by camera.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{card['plan_id']}.png"
    facts = {name: value for name, value in card.items() if name != "frames"}
    pictures.write_bytes(path.with_suffix(".json"), json.dumps(facts, indent=1).encode())
    pictures.write_bytes(path, pictures.encode_png(draw(card, frames)))
    return path


def draw(card: Mapping[str, Any], frames: Mapping[str, Frames]) -> Image:
    """Headline, a row of pictures for each camera, a bar for each margin."""
    strips = [
        _strip(seen, float(card["step_s"]), int(card["trusted_steps"])) for seen in frames.values()
    ]
    bars = [_bar(name, left) for name, left in card["margins"].items()]
    width = max([720, *(strip.shape[1] for strip in strips)])
    rows = [_line(words, width) for words in _words(card)]
    return pictures.above([*rows, *(_wide(row, width) for row in [*strips, *bars])], 6)


def _words(card: Mapping[str, Any]) -> list[str]:
    success = card["success"]
    foretold = "not foretold" if success is None else f"{100 * success:.0f}%"
    return [
        f"{card['plan_id']}   {len(card['actions'])} steps, {card['duration_s']:.1f} s",
        f"predicted success {foretold}   value {card['value']:.2f}   "
        f"trusted steps {card['trusted_steps']}   planning {card['planning_ms']:.0f} ms",
    ]


def _strip(frames: Frames, step_s: float, trusted: int) -> Image:
    """What is believed now, then what is imagined; beyond what is to be trusted it is faint."""
    factor = math.ceil(TILE / frames.shape[2])
    tiles = []
    for h, frame in enumerate(frames):
        shown = frame if h <= trusted else (frame * 0.4 + np.array(PAPER) * 0.6).astype(np.uint8)
        colour = IMAGINED if h else OBSERVED
        words = f"+{h * step_s:.1f} s" if h else "now"
        tiles.append(
            pictures.labelled(pictures.framed(pictures.enlarge(shown, factor), colour), words)
        )
    return pictures.beside(tiles)


def _bar(name: str, left: float | None) -> Image:
    """How much is left to a limit, of all."""
    row = _line(name, 160)
    bar = np.full((LINE, BAR, 3), PAPER, np.uint8)
    share = 1.0 if left is None else min(max(left, 0.0), 1.0)
    colour = IMAGINED if share < NARROW else OBSERVED
    bar[6:-6] = np.array(PAPER, np.uint8) + 20
    bar[6:-6, : round(share * BAR)] = colour
    return np.concatenate([row, bar, _line(f" {100 * share:.0f}% left", 120)], axis=1)


def _line(words: str, width: int) -> Image:
    strip = np.full((LINE, width, 3), PAPER, np.uint8)
    cv2.putText(strip, words, (8, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return strip


def _wide(image: Image, width: int) -> Image:
    space = np.full((image.shape[0], width - image.shape[1], 3), PAPER, np.uint8)
    return np.concatenate([image, space], axis=1)
