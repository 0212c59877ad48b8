"""Pictures of a live scene, drawn beside it on a thread of their own from a copy of its state."""

from __future__ import annotations

import concurrent.futures
import logging
import threading
from collections.abc import Callable, Sequence

import mujoco
import numpy as np

from robowm_envs.cameras import CAMERAS, Painter
from robowm_envs.errors import unknown
from robowm_envs.live import LiveArm

logger = logging.getLogger(__name__)
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION


class Photographer:
    """Draws what the cameras see, one moment after the other.

    A moment that comes while another is drawn waits; one that comes after it takes its place. MuJoCo
    and OpenGL let go of Python's lock while they work, so the scene goes on.

    Args:
      size: height and width of the pictures.
      deliver: called on the thread with camera, stamp (s) and picture uint8 [H, W, 3].

    Attributes:
      missed: moments of which there is no picture.

    Raises:
      EnvError: where nothing can be drawn, or a camera is unknown.
    """

    def __init__(
        self,
        live: LiveArm,
        cameras: Sequence[str],
        size: int,
        deliver: Callable[[str, float, np.ndarray], None],
    ):
        for camera in cameras:
            if camera not in CAMERAS:
                raise unknown("camera", camera, CAMERAS)
        self._live, self._deliver = live, deliver
        self._cameras, self._size = tuple(cameras), (size, size)
        self._waiting: tuple[int, float, np.ndarray] | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.missed = 0
        self._thread = threading.Thread(target=self._work, daemon=True, name="photographer")
        self._thread.start()
        self._ready.result()

    def take(self, stamp_s: float) -> None:
        """Draw the present state, soon; to be called between two time steps."""
        state = self._live.physics.get_state()
        with self._changed:
            self.missed += self._waiting is not None
            self._waiting = (self._live.scenes, stamp_s, state)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        painter, data = Painter(), mujoco.MjData(self._live.physics.model)
        try:
            self._draw(painter, data, self._live.scenes, self._live.physics.get_state())
            self._ready.set_result(None)
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._ended or self._waiting is not None)
                    if self._ended or self._waiting is None:
                        return
                    (scene, stamp_s, state), self._waiting = self._waiting, None
                for camera, picture in self._draw(painter, data, scene, state).items():
                    self._deliver(camera, stamp_s, picture)
        except Exception as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            else:
                logger.exception("there are no more pictures")
        finally:
            painter.close()

    def _draw(
        self, painter: Painter, data: mujoco.MjData, scene: int, state: np.ndarray
    ) -> dict[str, np.ndarray]:
        live = self._live
        with live.lock:
            if scene != live.scenes:  # the model is another's by now
                self.missed += 1
                return {}
            mujoco.mj_setState(live.physics.model, data, state, _STATE)
            mujoco.mj_fwdPosition(live.physics.model, data)
            return {camera: painter(data, camera, self._size) for camera in self._cameras}
