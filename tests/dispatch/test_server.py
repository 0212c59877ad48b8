"""The stand-in for a real arm, over a link and in real time: only messages go to and fro."""

import dataclasses
import itertools
import json
import time

import cv2
import numpy as np
import pytest

import robowm_envs
from robowm.dispatch.arm import Chunk
from robowm.dispatch.arms.ros import RosArm, RosArmConfig
from robowm.dispatch.bench.server import ServerConfig
from robowm.dispatch.bench.trajectory_controller import ControllerConfig
from robowm.dispatch.trajectory import Trajectory
from robowm.dispatch.wire.local import LocalLink
from robowm.errors import UserError
from robowm.spec import TaskSpec
from robowm_envs.joints import JointPort
from robowm_envs.twin import Twin
from tests.dispatch.bench import expert_motion, served, until


@pytest.fixture(scope="module")
def bench():
    with served() as both:
        yield both


@pytest.fixture
def client(bench):
    bench[0].lay_out(1)
    return bench[0]


def stamps(client):
    return np.array([state.stamp_s for state in client.heard["joint_states"]])


def settled(client):
    return until(lambda: np.abs(client.state.velocity[:-1]).max() < 1e-3)


def test_joint_states_come_at_their_rate(client):
    begin = len(client.heard["joint_states"])
    assert until(lambda: len(client.heard["joint_states"]) > begin + 50)
    apart = np.diff(stamps(client)[begin:])
    np.testing.assert_allclose(apart, 1 / 250, atol=1e-6)
    state = client.state
    assert state.names == (*(f"joint{i}" for i in range(1, 8)), "gripper")
    assert state.position.shape == state.velocity.shape == state.effort.shape == (8,)


def test_it_follows_a_trajectory_and_arrives(client):
    q0 = client.state.position
    ways = q0 + np.outer([0.25, 0.75, 1.0], [0.3, 0.2, -0.2, 0.3, 0.2, -0.3, 0.4, 0.0])
    dq = np.zeros_like(ways)
    dq[:2] = (ways[1] - ways[0]) / 0.3
    begin = len(client.heard["joint_states"])
    sent = client.send(ways, dq, step_s=0.3)
    assert until(lambda: np.abs(client.state.position - ways[-1])[:-1].max() < 0.005)
    assert settled(client)
    heard = client.heard["joint_states"][begin:]
    time_s = np.array([state.stamp_s for state in heard])
    q = np.array([state.position for state in heard])
    path = Trajectory(
        np.append(0.0, sent.time_s), np.vstack([q0, ways]), np.vstack([np.zeros(8), dq])
    )
    # When it came is known to the arm alone: of all starts, the one that fits.
    errors = [
        np.abs(path.at(time_s - time_s[0] - start)[0] - q)[:, :-1].max()
        for start in np.arange(0.0, 1.0, 0.002)
    ]
    assert min(errors) < 0.02


def test_the_width_of_the_gripper_is_a_switch_at_half_its_stroke(client):
    q = client.state.position.copy()
    q[-1] = 0.039
    client.send([q])
    assert until(lambda: client.state.position[-1] < 0.01)
    assert until(lambda: client.state.effort[-1] > 0)  # a share of its force, which closes
    q[-1] = 0.041
    client.send([q])
    assert until(lambda: client.state.position[-1] > 0.07)


def test_what_is_rejected_is_counted_and_not_done(client):
    # What was accepted is told twice a second only: the newest status may not know of the test before.
    before, q = client.fresh_status, client.state.position
    client.send([q + 0.1], names=(*client.state.names[:-1], "thumb"))
    assert client.rejected("names", before)
    client.send([q + 0.05], dq=[np.full(8, 0.2)])
    assert client.rejected("end_velocity", before)
    assert "not at rest" in client.status["last_rejection"]
    client.send([q * np.nan])
    assert client.rejected("finite", before)
    assert client.status["accepted"] == before["accepted"]
    assert np.abs(client.state.position - q).max() < 1e-3


def test_stamps_are_read_by_the_clock_of_the_arm(client):
    q = client.state.position + [0.1, 0, 0, 0, 0, 0, 0, 0]
    before = client.status
    client.send([q], stamp_s=client.state.stamp_s - 5.0)
    assert client.rejected("past", before)
    client.send([q], stamp_s=client.state.stamp_s + 0.3)
    assert until(lambda: abs(client.state.position[0] - q[0]) < 0.005)


def test_an_arm_that_is_held_back_aborts():
    with served(controller=ControllerConfig(path_tolerance_rad=0.01)) as (client, _):
        client.lay_out(1)
        q = client.state.position.copy()
        q[5] += 1.2
        client.send([q], step_s=0.15)  # faster than it can
        assert until(lambda: client.status["aborts"] == 1)
        assert "off the path" in client.status["last_abort"] and settled(client)
        assert np.abs(client.state.position - q).max() > 0.1


# Episodes


def test_an_episode_is_laid_out_and_told(client):
    env = robowm_envs.make("grasp_rotate_place", observation="state", split="validation")
    goal = env.reset(seed=11).observation["goal"]
    told = client.lay_out(11, split="validation", push="arm")
    assert told["state"] == "running" and told["result"] is None
    assert (told["seed"], told["split"], told["push"]) == (11, "validation", "arm")
    np.testing.assert_array_equal(client.heard["robowm/goal"][-1].data, goal)
    np.testing.assert_allclose(client.state.position[:-1], env.physics.joint_position(), atol=0.01)
    assert json.loads(client.heard["robowm/constraints"][-1].data) == {}
    env.close()


@pytest.mark.parametrize(
    "text",
    ["{", "3", "{}", '{"seed": "1"}', '{"seed": -1}', '{"seed": 1, "split": "tset"}', '{"seed": 1, "x": 2}'],
)  # fmt: skip
def test_an_episode_that_is_none_changes_nothing(client, text, caplog):
    number = client.episode["number"]
    client.ask_for(text)
    assert until(lambda: "there is no episode" in caplog.text)
    assert client.lay_out(1)["number"] == number + 1


def test_it_is_judged_when_asked(client):
    result = client.finish()
    assert result["success"] == 0.0 and result["position_error_m"] > 0.02
    assert until(lambda: client.episode["state"] == "over")
    assert client.episode["result"] == result == client.finish()
    assert client.lay_out(1)["state"] == "running"


def test_what_is_forbidden_is_told():
    with served("keep_out") as (client, _):
        assert until(lambda: client.heard["robowm/constraints"])
        told = json.loads(client.heard["robowm/constraints"][-1].data)
        assert np.shape(told["keep_out"])[1] == 7 and "hand_balls" in told


def test_the_motion_of_an_expert_does_over_the_link_what_it_did_in_the_simulation(client):
    q, dq = expert_motion("grasp_rotate_place", seed=3)
    assert client.lay_out(3)["time_limit_s"] > 0.1 * len(q)
    client.send(q, dq)
    assert until(lambda: client.state.position[-1] < 0.07)  # it has begun
    end_s = client.state.stamp_s + 0.1 * len(q)
    assert until(lambda: client.state.stamp_s > end_s, 120.0)
    assert client.finish()["success"] == 1.0


def test_it_is_over_at_the_time_limit_which_the_first_trajectory_starts(bench):
    client, server = bench
    client.lay_out(2)
    limit_s = client.episode["time_limit_s"]
    begin = client.state
    # Time is the arm's own, so that it can be put forward.
    object.__setattr__(server._arm._env, "time_limit_steps", 5)
    try:
        assert until(lambda: client.state.stamp_s > begin.stamp_s + 1.0)
        assert client.episode["state"] == "running"
        client.send([client.state.position])
        assert until(lambda: client.episode["state"] == "over")
        assert client.episode["result"]["success"] == 0.0
    finally:
        object.__setattr__(server._arm._env, "time_limit_steps", round(limit_s / 0.1))


# Faults


def test_a_dead_driver_says_and_does_nothing_and_comes_back(client):
    q = client.state.position.copy()
    client.send([q + [0.8, 0, 0, 0, 0, 0, 0, 0]], step_s=2.0)
    assert until(lambda: client.state.velocity[0] > 0.2)
    begin = len(client.heard["joint_states"]) - 1
    client.fail(dead_s=1.0)
    assert until(lambda: np.diff(stamps(client)[begin:]).max(initial=0.0) > 0.9)
    k = begin + int(np.argmax(np.diff(stamps(client)[begin:])))
    before, after = client.heard["joint_states"][k : k + 2]
    assert np.abs(after.velocity).max() < 0.01  # it has braked
    assert after.position[0] - before.position[0] < 0.2
    client.send([q])
    assert until(lambda: abs(client.state.position[0] - q[0]) < 0.01)


def test_while_it_is_dead_trajectories_are_lost(client):
    q, accepted = client.state.position.copy(), client.fresh_status["accepted"]
    begin = len(client.heard["joint_states"]) - 1
    client.fail(dead_s=1.5)
    assert until(lambda: not another_comes(client, within_s=0.3))
    client.send([q + [0.3, 0, 0, 0, 0, 0, 0, 0]])
    assert until(lambda: np.diff(stamps(client)[begin:]).max(initial=0.0) > 1.4)
    assert client.fresh_status["accepted"] == accepted
    assert abs(client.state.position[0] - q[0]) < 0.01


def another_comes(client, within_s):
    count = len(client.heard["joint_states"])
    return until(lambda: len(client.heard["joint_states"]) > count, within_s)


def pairs(client, begin):
    heard = client.heard["joint_states"][begin:]
    return list(itertools.pairwise(heard))


def test_states_freeze_stick_and_turn_into_no_numbers(client):
    def happens(what):
        begin = len(client.heard["joint_states"]) - 1
        return until(lambda: any(what(a, b) for a, b in pairs(client, begin)))

    client.fail(freeze_s=0.4)
    assert happens(lambda a, b: a is b)
    assert happens(lambda a, b: b.stamp_s - a.stamp_s > 0.3)
    client.fail(stuck_s=0.4)
    assert happens(lambda a, b: a.position is b.position and b.stamp_s > a.stamp_s)
    assert happens(lambda a, b: a.position is not b.position)
    client.fail(nan_s=0.4)
    assert happens(lambda a, b: np.isnan(b.position).all())
    assert happens(lambda a, b: np.isfinite(b.position).all())


def test_the_clock_jumps_for_good(client):
    begin = len(client.heard["joint_states"]) - 1
    client.fail(clock_jump_s=30.0)
    assert until(lambda: np.diff(stamps(client)[begin:]).max(initial=0.0) > 29)
    client.fail(clock_jump_s=-30.0)
    assert until(lambda: np.diff(stamps(client)[begin:]).min(initial=0.0) < -29)


def test_a_fault_that_there_is_not_is_said(client, caplog):
    client.fail(fire_s=1.0)
    assert until(lambda: "there is no fault" in caplog.text)
    assert "freeze_s, stuck_s" in caplog.text


# Who commands it


def test_an_arm_of_messages_drives_it_and_sees_what_an_agent_reads():
    task = {"task": "grasp_rotate_place", "split": "test", "image_size": 32}
    pixels, twin = robowm_envs.make(**task), Twin()
    expected, spec = pixels.reset(seed=6).observation, TaskSpec.from_env(pixels)

    def senses(q, dq, effort):
        return {"proprio": twin.proprio(q, dq, effort)}

    with served(image_hz=20.0) as (client, _):
        client.lay_out(6)
        link = LocalLink("robowm", bus=client.link._bus)
        arm = RosArm(RosArmConfig(), JointPort(pixels), spec.observation, senses, link=link)
        arm.connect()
        try:
            seen = arm.observe()
            assert seen.arrays.keys() == expected.keys()
            np.testing.assert_array_equal(seen.arrays["goal"], expected["goal"])
            off = np.abs(seen.arrays["proprio"] - expected["proprio"])
            assert off.max() < 0.02 and off[:-1].mean() < 0.002  # it has stood there for a while
            for name in ("image_front", "image_wrist"):
                apart = np.abs(seen.arrays[name].astype(float) - expected[name]).mean()
                assert apart < 1.0
            turn = np.array([0.2, 0.1, 0, 0, 0, 0, 0.3, 0])
            q = seen.q + np.outer([0.25, 0.75, 1.0], turn)
            dq = np.stack([turn, turn, 0 * turn])
            arm.send(Chunk(seen.stamp_s, 0.5, q, dq, "plan", arm.spec.joints))
            arm.wait(seen.stamp_s + 1.6)
            assert until(lambda: np.abs(arm.observe().q - q[-1])[:-1].max() < 0.01)
            client.fail(dead_s=1.0)
            assert until(lambda: arm.observe().age_s > 0.5)
            assert until(lambda: arm.observe().age_s < 0.1)
        finally:
            arm.close()
    pixels.close()


def test_a_machine_that_does_not_keep_up_says_so(caplog):
    with served(patience_s=0.05) as (client, server):
        step = server._arm.step

        def slow(q, dq):
            server._arm.step = step
            time.sleep(0.4)
            step(q, dq)

        server._arm.step = slow
        assert until(lambda: "does not keep up with real time" in caplog.text)
        assert until(lambda: client.status["lost_s"] > 0.3)
        now = client.state.stamp_s
        assert abs(now - time.time()) < 1.0  # what is lost is left out, not made up for


# Pictures


def test_pictures_come_beside_and_compressed_where_asked():
    with served(image_hz=20.0, compressed=True, namespace="/left") as (client, _):
        client.lay_out(4)
        for topic in ("front/image_raw", "wrist/image_raw", "wrist/image_raw/compressed"):
            assert until(lambda topic=topic: len(client.heard[f"camera/{topic}"]) > 5)
        raw = client.heard["camera/wrist/image_raw"]
        assert raw[-1].pixels.shape == (32, 32, 3) and raw[-1].frame == "wrist"
        assert np.mean([picture.pixels.std() for picture in raw]) > 5
        jpeg = client.heard["camera/wrist/image_raw/compressed"][-1]
        same = next(picture for picture in raw if picture.stamp_s == jpeg.stamp_s)
        read = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.abs(read.astype(float) - same.pixels).mean() < 8
        begin = len(raw) - 1
        client.fail(dead_s=0.5)
        assert until(lambda: np.diff([p.stamp_s for p in raw[begin:]]).max(initial=0) > 0.4)


@pytest.mark.parametrize("wrong", [{"rate_hz": 0.0}, {"image_hz": -1.0}, {"patience_s": 0.0}])
def test_settings_that_are_none_are_refused(wrong):
    with pytest.raises(UserError, match=r"server\."):
        dataclasses.replace(ServerConfig(), **wrong)
