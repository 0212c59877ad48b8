"""A scene that goes on by itself, and pictures of it."""

import threading

import mujoco
import numpy as np
import pytest

import robowm_envs
from robowm_envs.expert import Expert
from robowm_envs.joints import JointPort
from robowm_envs.live import LiveArm
from robowm_envs.photographer import Photographer


@pytest.fixture(scope="module")
def live():
    env = robowm_envs.make("grasp_rotate_place", observation="state", timestep_s=0.002)
    yield LiveArm(env)
    env.close()


def steps(live, count):
    q = live.measure()[0]
    for _ in range(count):
        live.step(q, np.zeros_like(q))


def test_an_episode_is_that_of_the_environment(live):
    env = robowm_envs.make("grasp_rotate_place", observation="state", split="test")
    goal = env.reset(seed=7).observation["goal"]
    live.begin(7, "test", "none")
    np.testing.assert_array_equal(live.goal, goal)
    np.testing.assert_array_equal(live.measure()[0], JointPort(env).state()[0])
    place = live.physics.object_position()
    np.testing.assert_array_equal(place, env.physics.object_position())
    env.close()


def test_its_clock_runs_from_when_it_is_started(live):
    live.begin(1, "test", "none")
    steps(live, 500)
    live.start_clock()
    steps(live, round(live.time_limit_s / live.period_s) - 1)
    assert not live.over
    steps(live, 1)
    assert live.over
    result = live.finish()
    assert result["success"] == 0.0 and result == live.finish()
    steps(live, 100)  # the world goes on
    assert live.finish() == result


def test_led_as_the_expert_leads_it_succeeds(live):
    live.begin(3, "test", "none")
    expert = Expert(live._env)
    live.start_clock()
    substeps = round(0.1 / live.period_s)
    while not live.over:
        start = live._env.controller.joint_target.copy()
        live._env.controller.aim(expert.act().astype(float))
        target = live._env.controller.joint_target.copy()
        width = 0.0 if live._env.controller.closed else live.high[-1]
        speed = np.append((target - start) / 0.1, 0.0)
        for i in range(substeps):
            live.step(np.append(start + (target - start) * (i + 1) / substeps, width), speed)
    assert live.finish()["success"] == 1.0


def test_pushes_come_as_in_the_environment(live):
    live.begin(2, "test", "object")
    before = live.physics.object_position()
    steps(live, 1000)
    still = live.physics.object_position()
    live.start_clock()
    steps(live, 2000)
    assert np.linalg.norm(still - before) < 0.001
    assert np.linalg.norm(live.physics.object_position() - still) > 0.02


def test_a_start_that_is_none_leaves_the_scene(live):
    live.begin(4, "test", "none")
    scenes = live.scenes
    for wrong in [(4, "tset", "none"), (4, "test", "objects"), (-1, "test", "none")]:
        with pytest.raises(robowm_envs.EnvError):
            live.begin(*wrong)
    assert live.scenes == scenes and not live.over


def test_pictures_are_those_of_the_environment(live):
    live.begin(5, "shift_colour", "none")
    steps(live, 50)
    came, pictures = threading.Event(), {}

    def deliver(camera, stamp_s, picture):
        pictures[camera] = (stamp_s, picture)
        if len(pictures) == 2:
            came.set()

    photographer = Photographer(live, ("front", "wrist"), 48, deliver)
    state = live.physics.get_state()
    photographer.take(12.5)
    steps(live, 200)  # it is drawn from a copy
    assert came.wait(20.0)
    photographer.close()
    live.physics.set_state(state)
    for camera in ("front", "wrist"):
        stamp_s, picture = pictures[camera]
        assert stamp_s == 12.5 and picture.std() > 5
        expected = live._env.painter(live.physics.data, camera, (48, 48))
        np.testing.assert_array_equal(picture, expected)


def test_a_picture_of_the_scene_before_is_not_delivered(live):
    live.begin(5, "test", "none")
    pictures = []
    photographer = Photographer(live, ("front",), 32, lambda *told: pictures.append(told))
    with live.lock:
        photographer.take(1.0)
        live.scenes += 1
    photographer.take(2.0)
    deadline = threading.Event()
    for _ in range(400):
        if pictures or deadline.wait(0.05):
            break
    photographer.close()
    assert [stamp_s for _, stamp_s, _ in pictures] == [2.0] and photographer.missed == 1


def test_where_nothing_can_be_drawn_it_says_so(live, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no display")

    monkeypatch.setattr(mujoco, "Renderer", broken)
    with pytest.raises(robowm_envs.EnvError, match="no headless renderer answers"):
        Photographer(live, ("front",), 32, print)


def test_a_camera_that_there_is_not_is_named(live):
    with pytest.raises(robowm_envs.EnvError, match="unknown camera 'back'"):
        Photographer(live, ("back",), 32, print)


@pytest.mark.parametrize("wrong", [0.0, -0.01, 0.003, 0.2, float("nan")])
def test_a_time_step_that_does_not_fit_is_refused(wrong):
    with pytest.raises(robowm_envs.EnvError, match="multiple"):
        robowm_envs.make("reach", timestep_s=wrong)


@pytest.mark.parametrize("task", ["grasp_rotate_place", "keep_out", "reorient"])
def test_the_expert_does_as_well_with_short_time_steps(task):
    env = robowm_envs.make(task, observation="state", split="test", timestep_s=0.002)
    expert = Expert(env)
    for seed in range(2):
        step = env.reset(seed=seed)
        while not step.last():
            step = env.step(expert.act())
        assert env.metrics()["success"] == 1.0
    env.close()
