"""The newest picture of a camera, in the size that the agent reads."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from robowm.dispatch.wire.messages import CompressedImage, Image

logger = logging.getLogger(__name__)

Picture = NDArray[np.uint8]


class Camera:
    """Args:
    height, width: of the picture that is read.
    """

    def __init__(self, height: int, width: int):
        self._size = height, width
        self._lock = threading.Lock()
        self._heard: tuple[Image | CompressedImage, float] | None = None
        self._picture: tuple[Picture, float] | None = None

    def hear(self, message: Image | CompressedImage) -> None:
        with self._lock:
            self._heard = message, time.monotonic()

    def newest(self) -> tuple[Picture, float] | None:
        """The picture [height, width, 3], and when it arrived on the monotonic clock; None before the
        first. It is decoded here: a camera shows more than an agent looks at."""
        with self._lock:
            heard, self._heard = self._heard, None
            if heard is not None:
                try:
                    self._picture = fit(pixels(heard[0]), *self._size), heard[1]
                except ValueError as error:  # it gets older, and that is noticed
                    logger.warning("a picture is left out: %s", error)
            return self._picture


def pixels(message: Image | CompressedImage) -> Picture:
    """Red first; ValueError where it is no picture."""
    if isinstance(message, Image):
        return message.pixels
    read: Any = None
    if message.data:
        read = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    if read is None:
        raise ValueError(f"{len(message.data)} bytes are no {message.format} file.")
    return read[..., ::-1]


def fit(picture: Picture, height: int, width: int) -> Picture:
    """The middle of a picture, as wide for its height as is read, made as large as is read."""
    h, w = picture.shape[:2]
    if not h or not w:
        raise ValueError("a picture has no pixels.")
    scale = min(h / height, w / width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (h - rows) // 2, (w - columns) // 2
    middle = np.ascontiguousarray(picture[top : top + rows, left : left + columns])
    if (rows, columns) == (height, width):
        return middle
    return np.asarray(cv2.resize(middle, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
