"""Rotation errors up to symmetry, by property; and that what is drawn is where it is said to be."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import robowm_envs
from robowm_envs import geometry, randomise
from robowm_envs.geometry import SQUARE_BAR, angle_between, rotation_error

angles = st.floats(-10.0, 10.0, allow_nan=False)
elements = st.floats(-1.0, 1.0, allow_nan=False)


@st.composite
def rotations(draw) -> np.ndarray:
    q = np.array([draw(elements) for _ in range(4)])
    norm = np.linalg.norm(q)
    w, x, y, z = q / norm if norm > 1e-3 else (1.0, 0.0, 0.0, 0.0)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_the_symmetries_are_a_group_of_rotations_that_keep_the_bar():
    corners = np.array(robowm_envs.TASKS["grasp"].things[0].half_size_m)
    for a in SQUARE_BAR:
        np.testing.assert_allclose(a @ a.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(a) == pytest.approx(1.0)
        np.testing.assert_allclose(np.abs(a @ corners), corners, atol=1e-12)
        for b in SQUARE_BAR:
            assert np.isclose(a @ b, SQUARE_BAR, atol=1e-12).all((1, 2)).sum() == 1


@given(rotations(), rotations())
def test_error_is_a_symmetric_angle(a, b):
    error = rotation_error(a, b)
    assert 0.0 <= error <= np.pi
    assert error == pytest.approx(rotation_error(b, a), abs=1e-6)
    assert error <= angle_between(a, b) + 1e-6


@given(
    rotations(), rotations(), st.sampled_from(list(SQUARE_BAR)), st.sampled_from(list(SQUARE_BAR))
)
def test_error_does_not_see_symmetric_turns_of_either(a, b, s, t):
    assert rotation_error(a @ s, b @ t) == pytest.approx(rotation_error(a, b), abs=1e-6)


@given(rotations(), st.sampled_from(list(SQUARE_BAR)))
def test_error_is_zero_exactly_at_the_symmetries(a, s):
    assert rotation_error(a, a @ s) < 1e-6


@given(rotations(), rotations(), rotations())
def test_error_keeps_the_triangle_inequality_and_turns_with_the_world(a, b, c):
    assert rotation_error(a, c) <= rotation_error(a, b) + rotation_error(b, c) + 1e-6
    assert rotation_error(c @ a, c @ b) == pytest.approx(rotation_error(a, b), abs=1e-6)


@given(angles, angles)
def test_error_of_yaws_is_their_distance_modulo_half_a_turn(a, b):
    error = rotation_error(geometry.about_z(a), geometry.about_z(b))
    assert error == pytest.approx(abs(geometry.wrap(a - b, np.pi)), abs=1e-6)


@given(angles)
def test_yaw_is_read_back(yaw):
    for rotation in (geometry.about_z(yaw), geometry.pointing_down(yaw)):
        assert geometry.wrap(geometry.yaw_of(rotation) - yaw) == pytest.approx(0.0, abs=1e-9)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(geometry.pointing_down(yaw)) == pytest.approx(1.0)
    assert geometry.pointing_down(yaw)[2, 2] == -1.0


@given(st.tuples(elements, elements, elements), st.floats(0.0, 1.0))
def test_rotation_vectors_are_read_back(vector, share):
    vector = share * np.pi * np.array(vector) / max(1.0, float(np.linalg.norm(vector)))
    rotation = geometry.rotation_of(vector)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(
        geometry.rotation_of(geometry.vector_of(rotation)), rotation, atol=1e-7
    )
    if np.linalg.norm(vector) < 3.0:
        np.testing.assert_allclose(geometry.vector_of(rotation), vector, atol=1e-7)


@pytest.mark.parametrize("axis", ([1, 0, 0], [0, 1, 0], [0, 0, -1], [0.6, -0.8, 0]))
def test_half_a_turn_has_a_rotation_vector(axis):
    half = geometry.rotation_of(np.pi * np.array(axis, float))
    np.testing.assert_allclose(geometry.rotation_of(geometry.vector_of(half)), half, atol=1e-7)


@given(st.tuples(elements, elements), st.floats(-3.0, 3.0), angles)
def test_tilt_and_yaw_are_read_back_and_turn_with_the_world(tilt, yaw, turn):
    tilt = np.array(tilt)
    rotation = geometry.tilted_down(tilt, yaw)
    found, heading = geometry.tilt_and_yaw_of(rotation)
    np.testing.assert_allclose(found, tilt, atol=1e-7)
    assert heading == pytest.approx(yaw, abs=1e-7)
    turned, later = geometry.tilt_and_yaw_of(geometry.about_z(turn) @ rotation)
    np.testing.assert_allclose(turned, geometry.about_z(turn)[:2, :2] @ tilt, atol=1e-7)
    assert geometry.wrap(later - yaw - turn) == pytest.approx(0.0, abs=1e-7)


def test_a_cap_leaves_quarter_turns_about_the_long_axis():
    cap = np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(geometry.CAPPED_BAR @ cap, np.tile(cap, (4, 1)), atol=1e-12)
    upside_down = np.diag([-1.0, -1.0, 1.0])
    assert rotation_error(np.eye(3), upside_down, geometry.CAPPED_BAR) == pytest.approx(np.pi)


@given(angles, st.sampled_from((np.pi, 2 * np.pi)))
def test_wrapped_angles_are_equivalent_and_small(angle, period):
    wrapped = geometry.wrap(angle, period)
    assert abs(wrapped) <= period / 2 + 1e-9
    turns = (angle - wrapped) / period
    assert turns == pytest.approx(round(turns), abs=1e-9)


def test_gaps_between_rectangles():
    bar, square = np.array([0.05, 0.01]), np.array([0.02, 0.02])
    here, there = np.zeros(2), np.array([0.10, 0.0])
    assert geometry.gap_between((here, 0.0), bar, (there, 0.0), square) == pytest.approx(0.03)
    assert geometry.gap_between((here, np.pi / 2), bar, (there, 0.0), square) == pytest.approx(0.07)
    assert geometry.gap_between((here, 0.0), bar, (here, 1.0), square) < 0
    corner = 0.10 - 0.05 - 0.02 * np.sqrt(2)
    assert geometry.gap_between((here, 0.0), bar, (there, np.pi / 4), square) == pytest.approx(
        corner
    )


@given(
    st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(-np.pi, np.pi), st.floats(-np.pi, np.pi)
)
def test_rectangles_with_a_gap_share_no_point_and_the_gap_is_mutual(x, y, yaw_a, yaw_b):
    half_a, half_b = np.array([0.05, 0.01]), np.array([0.03, 0.02])
    a, b = (np.zeros(2), yaw_a), (np.array([x, y]), yaw_b)
    gap = geometry.gap_between(a, half_a, b, half_b)
    assert gap == pytest.approx(geometry.gap_between(b, half_b, a, half_a))
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, 9)]), -1).reshape(-1, 2)
    points = (grid * half_a) @ geometry.about_z(yaw_a)[:2, :2].T
    inside = np.abs((points - b[0]) @ geometry.about_z(yaw_b)[:2, :2]) <= half_b
    assert gap <= 0 or not inside.all(1).any()


def test_the_cameras_see_object_and_target_wherever_they_may_lie():
    """Counted in pixels of their own colour, at the size that models are trained on."""
    with closing(robowm_envs.make("grasp_rotate_place", split="shift_pose")) as env:
        for seed in range(25):
            image = env.reset(seed=seed).observation["image_front"].astype(int)
            red, green, blue = image[..., 0], image[..., 1], image[..., 2]
            thing = (red > 110) & (red > 2.5 * green) & (red > 2.5 * blue)
            marker = (green > 90) & (green > 2 * red) & (green > 1.5 * blue)
            overlap = np.linalg.norm(env.goal.position - env.physics.object_position()) < 0.08
            assert thing.sum() >= 12, f"seed {seed}: object {thing.sum()} pixels"
            assert overlap or marker.sum() >= 8, f"seed {seed}: target {marker.sum()} pixels"


def test_the_front_camera_sees_which_end_has_the_cap():
    with closing(robowm_envs.make("reorient", split="shift_pose")) as env:
        for seed in range(15):
            image = env.reset(seed=seed).observation["image_front"].astype(int)
            red, green, blue = image[..., 0], image[..., 1], image[..., 2]
            cap = (red > 110) & (green > 0.7 * red) & (red > 2.5 * blue)
            thing = (red > 110) & (red > 2.5 * green) & (red > 2.5 * blue)
            assert cap.sum() >= 6, f"seed {seed}: cap {cap.sum()} pixels"
            assert thing.sum() >= 8, f"seed {seed}: the rest {thing.sum()} pixels"


@pytest.mark.parametrize("group", ("colour", "light", "camera"))
def test_groups_that_change_looks_do_so_and_nothing_else(group: str):
    def look(groups):
        with closing(robowm_envs.make("grasp", randomise=groups, image_size=32)) as env:
            step = env.reset(seed=1)
            return step.observation, env.privileged()["object_position"]

    (plain, where), (changed, still) = look(("pose",)), look(("pose", group))
    assert (plain["image_front"] != changed["image_front"]).any()
    np.testing.assert_array_equal(plain["proprio"], changed["proprio"])
    np.testing.assert_array_equal(where, still)
    assert group in randomise.GROUPS
