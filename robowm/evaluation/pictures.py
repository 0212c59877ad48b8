"""Pictures for people: enlarged, framed, labelled, side by side, as film strips and PNG.

Images are uint8 [H, W, 3] and frames uint8 [T, H, W, 3], RGB. Videos are encoded by
:func:`robowm.tracking.video.encode_mp4`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # [H, W, 3]
Frames = NDArray[np.uint8]  # [T, H, W, 3]
Colour = tuple[int, int, int]

OBSERVED: Colour = (58, 166, 117)
IMAGINED: Colour = (226, 125, 52)
INK: Colour = (225, 228, 232)
PAPER: Colour = (22, 25, 30)


def encode_png(image: Image) -> bytes:
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f"cannot write an image of shape {image.shape} as PNG")
    return data.tobytes()


def write_bytes(path: Path, data: bytes) -> None:
    """Written beside and renamed: a killed run leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)


def enlarge(frames: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Whole pixels repeated, so that what the model sees stays visible: [..., H, W, 3]."""
    return frames.repeat(factor, axis=-3).repeat(factor, axis=-2)


def framed(image: Image, colour: Colour, width: int = 3) -> Image:
    """The image with a coloured border added around it."""
    out = np.empty((image.shape[0] + 2 * width, image.shape[1] + 2 * width, 3), np.uint8)
    out[:] = colour
    out[width:-width, width:-width] = image
    return out


def text(words: str, width: int, height: int = 20, colour: Colour = INK) -> Image:
    """A strip that holds ``words``, centred."""
    strip = np.full((height, width, 3), PAPER, np.uint8)
    scale = min(height, 20) / 48
    (length, ascent), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    origin = ((width - length) // 2, (height + ascent) // 2)
    cv2.putText(strip, words, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
    return strip


def labelled(image: Image, words: str, height: int = 20, colour: Colour = INK) -> Image:
    """The image under a strip that holds ``words``, centred."""
    return np.concatenate([text(words, image.shape[1], height, colour), image])


def beside(images: Sequence[Image], gap: int = 4) -> Image:
    """Images of equal height, left to right."""
    space = np.full((images[0].shape[0], gap, 3), PAPER, np.uint8)
    return np.concatenate([part for image in images for part in (space, image)][1:], axis=1)


def above(images: Sequence[Image], gap: int = 4) -> Image:
    """Images of equal width, top to bottom."""
    space = np.full((gap, images[0].shape[1], 3), PAPER, np.uint8)
    return np.concatenate([part for image in images for part in (space, image)][1:])


def film_strip(frames: Frames, count: int = 8, gap: int = 3) -> Image:
    """``count`` frames from the first to the last, evenly in time, left to right."""
    index = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)
    return beside([frames[i] for i in index], gap)


def until_still(frames: Frames, rest: int = 3) -> Frames:
    """The frames up to where nothing moves any more, and at most ``rest`` after that."""
    apart = np.abs(frames.astype(np.int16) - frames[-1]).mean(axis=(1, 2, 3))
    moving = np.flatnonzero(apart > 0.5)
    return frames[: moving[-1] + 2 + rest] if len(moving) else frames[: 1 + rest]


def difference(truth: Frames, imagined: Frames) -> Frames:
    """Half of what imagination adds to the truth, about grey."""
    return ((imagined.astype(np.int16) - truth.astype(np.int16)) // 2 + 128).astype(np.uint8)


def truth_imagined_difference(
    truth: Frames, imagined: Frames, observed: int, scale: int = 4
) -> Frames:
    """Three panels a frame: what was, what the model showed, and their difference about grey.

    The first ``observed`` frames, where the model still sees, are framed in :data:`OBSERVED`, the
    others in :data:`IMAGINED`. Output [T, h, w, 3].
    """
    out = []
    for t, panels in enumerate(zip(truth, imagined, difference(truth, imagined), strict=True)):
        seen = t < observed
        colour = OBSERVED if seen else IMAGINED
        second = "seen" if seen else f"imagined {t - observed + 1}"
        out.append(
            beside(
                [
                    labelled(framed(enlarge(panel, scale), colour), text)
                    for panel, text in zip(panels, ("truth", second, "difference"), strict=True)
                ]
            )
        )
    return np.stack(out)
