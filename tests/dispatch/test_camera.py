"""What comes from a camera, as the agent reads it."""

import cv2
import numpy as np
import pytest

from robowm.dispatch.arms.camera import Camera, fit
from robowm.dispatch.wire.messages import CompressedImage, Image

RED = np.zeros((48, 64, 3), np.uint8) + np.array([200, 20, 10], np.uint8)


def test_there_is_nothing_before_the_first_picture():
    assert Camera(16, 16).newest() is None


def test_a_picture_is_made_as_large_as_is_read():
    camera = Camera(16, 24)
    camera.hear(Image(0.0, RED))
    picture, received = camera.newest()
    assert picture.shape == (16, 24, 3) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[0, 0], [200, 20, 10])
    assert camera.newest()[1] == received  # the same, until there is another


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_compressed_pictures_are_red_first_too(kind):
    camera = Camera(16, 16)
    data = cv2.imencode(f".{kind}", RED[..., ::-1])[1].tobytes()
    camera.hear(CompressedImage(0.0, data, kind))
    np.testing.assert_allclose(camera.newest()[0][8, 8], [200, 20, 10], atol=4)


def test_the_middle_is_kept_and_nothing_is_stretched():
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 255
    assert (fit(wide, 20, 20) == 255).all()
    assert fit(wide, 40, 80) is not None and (fit(wide, 40, 80) == wide).all()


def test_pixels_are_averaged_over_their_area():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(fit(stripes, 16, 16).astype(int) - 100).max() <= 1


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_what_is_no_picture_leaves_the_one_before(data, caplog):
    camera = Camera(16, 16)
    camera.hear(Image(0.0, RED))
    before = camera.newest()
    camera.hear(CompressedImage(1.0, data))
    assert camera.newest() == before
    assert "left out" in caplog.text
    camera.hear(Image(2.0, np.zeros((0, 0, 3), np.uint8)))
    assert camera.newest() == before
