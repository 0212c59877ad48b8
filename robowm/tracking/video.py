"""Frames to H.264 in MP4, which browsers play."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np

from robowm.errors import UserError


def encode_mp4(frames: np.ndarray, fps: float) -> bytes:
    """``frames`` uint8 [T, H, W, 3] as a file's bytes; odd sides are padded by one pixel."""
    import av  # here, since only runs that make videos need it

    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise UserError(
            f"a video is {frames.dtype} {list(frames.shape)}: expected uint8 [T, H, W, 3] with T > 0."
        )
    # 4:2:0 colour has half the resolution, so both sides must be even.
    frames = np.pad(
        frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge"
    )
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
