"""Where the cameras stand, and a light way to draw through them."""

from __future__ import annotations

import atexit
import weakref

import mujoco
import numpy as np

from robowm_envs.errors import EnvError

CAMERAS = ("front", "wrist")
Renderers = dict[tuple[int, int], mujoco.Renderer]  # by height and width

FRONT_POSITION = np.array([1.00, 0.0, 0.80])
FRONT_LOOKS_AT = np.array([0.48, 0.0, 0.06])
FRONT_FOVY_DEG = 33.0

WRIST_POSITION = np.array([0.075, 0.0, 0.02])  # in the hand's frame, ahead of the fingers
WRIST_LOOKS_AT = np.array([0.0, 0.0, 0.115])
WRIST_FOVY_DEG = 75.0

FOR_PEOPLE = 5  # group of geoms that explain a picture, and are in none that an agent sees


def look_at(position: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Quaternion [4] (w first) of a camera at ``position`` that sees ``target`` in its centre."""
    z = position - target
    z = z / np.linalg.norm(z)
    x = np.cross(up, z)
    x = x / np.linalg.norm(x)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.column_stack([x, np.cross(z, x), z]).ravel())
    return quat


def add_front(spec: mujoco.MjSpec) -> None:
    """A camera across the table from the arm, which therefore reaches over nothing it must see."""
    quat = look_at(FRONT_POSITION, FRONT_LOOKS_AT, np.array([0.0, 0.0, 1.0]))
    spec.worldbody.add_camera(name="front", pos=FRONT_POSITION, quat=quat, fovy=FRONT_FOVY_DEG)


def add_wrist(hand: mujoco.MjsBody) -> None:
    """A camera on the hand that looks down between the fingers."""
    quat = look_at(WRIST_POSITION, WRIST_LOOKS_AT, np.array([1.0, 0.0, 0.0]))
    hand.add_camera(name="wrist", pos=WRIST_POSITION, quat=quat, fovy=WRIST_FOVY_DEG)


class Painter:
    """Draws scenes of one make. Holds an OpenGL context from the first picture until :meth:`close`.

    Environments of one process may share one: all that a scene's own model changes (sizes, colours,
    lights, cameras) is read from it at each picture.
    """

    def __init__(self) -> None:
        self._renderers: Renderers = {}
        weakref.finalize(self, _abandon, self._renderers)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 1
        self._for_people = mujoco.MjvOption()
        self._for_people.geomgroup[:] = 1
        self._for_people.sitegroup[:] = 0
        self._option.geomgroup[FOR_PEOPLE] = 0
        self._option.sitegroup[:] = 0

    def __call__(
        self,
        data: mujoco.MjData,
        camera: str,
        size: tuple[int, int],
        for_people: bool = False,
    ) -> np.ndarray:
        """uint8 [H, W, 3], a new array; ``for_people`` shows what agents do not see."""
        _free_abandoned()
        renderer = self._renderers.get(size)
        if renderer is None:
            renderer = self._renderers[size] = self._open(data.model, size)
        model, scene = data.model, renderer.scene
        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = model.camera(camera).id
        option = self._for_people if for_people else self._option
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, option, None, view, everything, scene)
        return renderer.render()

    def _open(self, model: mujoco.MjModel, size: tuple[int, int]) -> mujoco.Renderer:
        # The whole off-screen buffer is cleared for each picture: let it be no larger than that.
        model.vis.global_.offheight, model.vis.global_.offwidth = size
        try:
            renderer = mujoco.Renderer(model, *size, max_geom=200)
        except Exception as error:  # the backends raise whatever their bindings raise
            raise EnvError(
                f"no headless renderer answers ({type(error).__name__}: {error}): set MUJOCO_GL=egl "
                "or MUJOCO_GL=osmesa and install libegl1 or libosmesa6."
            ) from error
        if not _open:
            # The backend tears its display down at exit too. It registered that just now, with its
            # first context, so that this runs before it.
            atexit.unregister(_close_all)
            atexit.register(_close_all)
        _open.add(self)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            renderer.scene.flags[flag] = 0
        return renderer

    def close(self) -> None:
        _free(self._renderers)
        _open.discard(self)


# Those that hold a context: nobody has to close an environment before the process ends.
_open: weakref.WeakSet[Painter] = weakref.WeakSet()
# Of painters that were forgotten. Freed at the next picture, for the garbage collector may come in
# the middle of one.
_abandoned: list[Renderers] = []


def _free(renderers: Renderers) -> None:
    """Close them, and nobody else's.

    A renderer deletes its OpenGL objects by their numbers, in whichever context is current, and every
    context counts from one: unless its own is current, it deletes those of another, whose pictures
    are then recycled memory. Drawing makes it current.
    """
    while renderers:
        renderer = renderers.popitem()[1]
        renderer.render()
        renderer.close()


def _abandon(renderers: Renderers) -> None:
    if renderers:
        _abandoned.append(renderers)


def _free_abandoned() -> None:
    while _abandoned:
        _free(_abandoned.pop())


def _close_all() -> None:
    _free_abandoned()
    for painter in list(_open):
        painter.close()
