import numpy as np
import pytest

from robowm.evaluation import plots
from robowm.evaluation.metrics import Interval, wilson
from robowm.evaluation.pictures import (
    IMAGINED,
    OBSERVED,
    beside,
    encode_png,
    enlarge,
    film_strip,
    framed,
    truth_imagined_difference,
    until_still,
)

RNG = np.random.default_rng(0)


def test_enlarging_repeats_whole_pixels():
    frames = RNG.integers(0, 256, (2, 3, 4, 3), np.uint8)
    large = enlarge(frames, 3)
    assert large.shape == (2, 9, 12, 3)
    np.testing.assert_array_equal(large[:, 1::3, 2::3], frames)


def test_a_frame_goes_around_and_not_over():
    image = RNG.integers(0, 256, (4, 5, 3), np.uint8)
    out = framed(image, (1, 2, 3), 2)
    np.testing.assert_array_equal(out[2:-2, 2:-2], image)
    out[2:-2, 2:-2] = (1, 2, 3)
    assert (out == (1, 2, 3)).all()


@pytest.mark.parametrize(("count", "chosen"), [(3, [0, 5, 10]), (1, [0]), (40, range(11))])
def test_a_strip_runs_from_the_first_frame_to_the_last(count, chosen):
    frames = np.arange(11, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    np.testing.assert_array_equal(film_strip(frames, count), beside([frames[i] for i in chosen], 3))


def test_rest_is_cut_short():
    frames = np.zeros((20, 4, 4, 3), np.uint8)
    frames[:7] = RNG.integers(50, 200, (7, 4, 4, 3), np.uint8)
    assert len(until_still(frames, rest=3)) == 7 + 1 + 3
    assert len(until_still(frames[7:], rest=3)) == 4
    assert len(until_still(frames[:7])) == 7  # moves to the end


def test_observed_and_imagined_frames_differ_in_colour_and_the_difference_is_signed():
    truth = np.full((4, 6, 6, 3), 100, np.uint8)
    imagined = truth.copy()
    imagined[3] += 60
    frames = truth_imagined_difference(truth, imagined, observed=2, scale=2)
    edge = frames[:, -1, 0]  # the lower left corner belongs to the first panel's frame
    np.testing.assert_array_equal(edge, [OBSERVED, OBSERVED, IMAGINED, IMAGINED])
    panel = frames[:, -8, -8]  # inside the difference
    np.testing.assert_array_equal(panel[:, 0], [128, 128, 128, 158])


def rows():
    shares = {"planner": 37, "nothing": 0}
    found = {name: wilson(n, 40) for name, n in shares.items()}
    return [
        {"agent": k, "success": v.value, "success_low": v.low, "success_high": v.high}
        for k, v in found.items()
    ]


def drawings():
    curve = [1.0, 2.0, float("nan")]
    curves = {"imagined": curve, "posterior": curve, "copy_last": curve}
    return {
        "success": plots.success_rates(rows()),
        "horizon": plots.error_by_horizon([1, 2, 3], {"position, cm": curves, "rotation": curves}),
        "ranking": plots.ranking([0.1, 0.5, 0.9], Interval(0.5, 0.2, 0.8)),
    }


@pytest.mark.parametrize("name", ["success", "horizon", "ranking"])
def test_plots_follow_the_theme_and_are_the_same_each_time(name):
    svg = drawings()[name].svg()
    assert svg.startswith("<svg")
    assert "var(--ink)" in svg
    assert not [colour for colour in plots.THEME if colour in svg]
    assert "<metadata" not in svg
    assert svg == drawings()[name].svg()
    png = drawings()[name].png()
    assert png.startswith(b"\x89PNG")


def test_success_is_written_beside_its_bar():
    svg = drawings()["success"].svg()
    assert ">92.5%<" in svg
    assert ">0%<" in svg


def test_a_png_is_written_in_its_own_colours():
    assert encode_png(np.zeros((2, 2, 3), np.uint8)).startswith(b"\x89PNG")
