"""The zone: on the way, never where the bar is taken or left, seen by people alone, and minded."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robowm_envs
from robowm_envs import geometry
from robowm_envs.arms.panda import HAND_BALLS
from robowm_envs.arms.protocol import opened
from robowm_envs.expert import Expert
from robowm_envs.tasks.keep_out import CLEAR_M, Zone, balls_along


@pytest.fixture(scope="module")
def env():
    with closing(robowm_envs.make("keep_out", observation="state")) as env:
        yield env


def test_the_straight_way_leads_through_it_and_the_ends_are_free(env) -> None:
    for seed in range(30):
        env.reset(seed=seed)
        a, b, zone = env.physics.object_position(), env.goal.position, env.goal.zone
        bar = balls_along(env.physics.object_half_size())
        way = [a + share * (b - a) for share in np.linspace(0, 1, 60)]
        assert min(zone.gap(p, np.eye(3), bar) for p in way) < 0
        assert zone.gap(a, geometry.about_z(env.physics.object_yaw()), bar) > CLEAR_M
        assert not env.physics.zone_is_entered()


def test_the_core_tasks_expert_goes_through_and_fails(env) -> None:
    env.reset(seed=0)
    expert = Expert(env)
    expert._decide = expert._place
    step = None
    while step is None or not step.last():
        step = env.step(expert.act())
    metrics = env.metrics()
    assert metrics["position_error_m"] < 0.02
    assert metrics["entered"] == 1.0 and metrics["success"] == 0.0


def test_no_agents_picture_shows_it_and_films_do() -> None:
    with (
        closing(robowm_envs.make("keep_out")) as env,
        closing(robowm_envs.make("grasp_rotate_place")) as core,
    ):
        step, same = env.reset(seed=0), core.reset(seed=0)
        assert step.observation.keys() == same.observation.keys()
        before = env.render("front", (64, 64))
        env.physics.place_zone(np.array([0.5, 0.0, 5.0]), np.full(3, 0.02), 0.0)
        env.physics.forward()
        assert (env.render("front", (64, 64)) != before).any()
        seen = env.painter(env.physics.data, "front", (64, 64))
        np.testing.assert_array_equal(seen, step.observation["image_front"])


def test_a_state_put_back_has_its_zone() -> None:
    with (
        closing(robowm_envs.make("keep_out", observation="state")) as one,
        closing(robowm_envs.make("keep_out", observation="state")) as other,
    ):
        one.reset(seed=3)
        other.reset(seed=4)
        other.set_state(one.get_state())
        for name, array in one.constraints().items():
            np.testing.assert_array_equal(other.constraints()[name], array)
        np.testing.assert_array_equal(
            other.physics.model.geom("zone").size, one.physics.model.geom("zone").size
        )


def test_balls_cover_the_hand(env) -> None:
    """To within 3 mm, at its outermost corners."""
    env.reset(seed=0)
    physics = env.physics
    model, data = physics.model, physics.data
    rotation, tool = physics.hand_rotation(), physics.hand_position()
    balls = opened(HAND_BALLS, physics.gripper_width())
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 5)] * 3), -1).reshape(-1, 3)
    for geom in physics._enterable[:-1]:
        corners = grid * model.geom_size[geom] @ data.geom_xmat[geom].reshape(3, 3).T
        points = (data.geom_xpos[geom] + corners - tool) @ rotation
        away = np.linalg.norm(points[:, None] - balls[None, :, :3], axis=-1) - balls[:, 3]
        assert away.min(1).max() < 0.0031


@settings(max_examples=50)
@given(
    st.tuples(*[st.floats(-0.2, 0.2)] * 3), st.tuples(*[st.floats(0.01, 0.1)] * 3),
    st.floats(-3.0, 3.0), st.tuples(*[st.floats(-0.3, 0.3)] * 3),
)  # fmt: skip
def test_gap_is_the_distance_to_the_nearest_point(centre, half, yaw, point) -> None:
    zone = Zone(np.array(centre), np.array(half), yaw)
    local = geometry.about_z(yaw).T @ (np.array(point) - zone.centre)
    distance = np.linalg.norm(local - np.clip(local, -zone.half_size, zone.half_size))
    gap = zone.gap(np.array(point), np.eye(3), np.array([[0.0, 0.0, 0.0, 0.01]]))
    assert gap == pytest.approx(distance - 0.01, abs=1e-9) or (distance == 0 and gap < 0)
