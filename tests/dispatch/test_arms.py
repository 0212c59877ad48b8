"""The contract of every arm backend. A new one adds a line to BACKENDS."""

import numpy as np
import pytest

from robowm.dispatch import ARMS
from robowm.dispatch.arm import Arm, ArmState, Chunk
from robowm.dispatch.sim import SimArm, SimArmConfig
from robowm.errors import UserError
from tests.dispatch.toy import PointArmEnv, PointPort


def sim_of_a_point():
    env = PointArmEnv()
    box = SimArmConfig(workspace_low=(-1, -1, 0), workspace_high=(1, 1, 1))
    return SimArm(box, env, PointPort(env), seed=0)


BACKENDS = {"sim": sim_of_a_point}


def test_every_registered_arm_is_held_to_the_contract():
    assert set(BACKENDS) == set(ARMS)


@pytest.fixture(params=sorted(BACKENDS))
def arm(request):
    made = BACKENDS[request.param]()
    yield made
    made.close()


def stay(arm, step=0.0):
    q = arm.observe().q[None] + step
    return Chunk(arm.observe().stamp_s, 1 / arm.spec.rate_hz, q, np.zeros_like(q), "plan")


def test_it_is_an_arm(arm):
    assert isinstance(arm, Arm)
    n = len(arm.spec.joints)
    low, high = np.array(arm.spec.position_low), np.array(arm.spec.position_high)
    assert low.shape == high.shape == (n,) and (low < high).all()
    assert (np.array(arm.spec.velocity) > 0).all() and arm.spec.rate_hz > 0


def test_states_follow_what_is_done(arm):
    assert arm.state is ArmState.DISCONNECTED
    arm.connect()
    assert arm.state is ArmState.READY
    assert arm.send(stay(arm)).accepted
    arm.hold()
    assert arm.state is ArmState.HOLDING
    assert arm.send(stay(arm)).accepted
    assert arm.state is ArmState.READY
    arm.close()
    assert arm.state is ArmState.DISCONNECTED


def test_nothing_is_sent_before_connecting(arm):
    chunk = Chunk(
        0.0, 0.1, np.zeros((1, len(arm.spec.joints))), np.zeros((1, len(arm.spec.joints))), "p"
    )
    receipt = arm.send(chunk)
    assert not receipt.accepted and receipt.sent == 0 and "disconnected" in receipt.reason


def test_the_emergency_stop_is_latched_until_reset(arm):
    arm.connect()
    before = arm.observe().q
    arm.estop()
    for _ in range(2):
        assert arm.state is ArmState.STOPPED
        assert not arm.send(stay(arm, 0.01)).accepted
        arm.hold()
    np.testing.assert_array_equal(arm.observe().q, before)
    arm.reset()
    assert arm.state is ArmState.HOLDING
    assert arm.send(stay(arm)).accepted


def test_reset_leaves_a_healthy_arm_as_it_is(arm):
    arm.reset()
    assert arm.state is ArmState.DISCONNECTED
    arm.connect()
    arm.reset()
    assert arm.state is ArmState.READY


def test_observations_are_stamped_and_measured(arm):
    arm.connect()
    first = arm.observe()
    n = len(arm.spec.joints)
    assert first.q.shape == first.dq.shape == (n,) and np.isfinite(first.q).all()
    assert first.age_s >= 0 and first.arrays
    arm.send(stay(arm))
    assert arm.observe().stamp_s == pytest.approx(first.stamp_s + 1 / arm.spec.rate_hz)
    assert arm.observe().received_s >= first.received_s


def test_a_chunk_moves_the_arm_waypoint_by_waypoint(arm):
    arm.connect()
    start = arm.observe().q
    q = start + np.array([[0.01, 0, 0], [0.02, 0, 0], [0.02, -0.01, 0]])
    receipt = arm.send(Chunk(0.0, 0.1, q, np.zeros_like(q), "plan"))
    assert receipt.accepted and receipt.sent == 3
    np.testing.assert_allclose(arm.observe().q[:2], q[-1, :2], atol=1e-6)


def test_a_held_arm_stands_while_the_world_goes_on():
    arm = sim_of_a_point()
    arm.connect()
    arm.send(stay(arm, 0.02))
    before = arm.observe()
    arm.hold()
    after = arm.observe()
    np.testing.assert_allclose(after.q[:2], before.q[:2], atol=1e-9)
    assert after.stamp_s == pytest.approx(before.stamp_s + 0.1)


def test_a_chunk_ends_where_the_episode_does():
    arm = sim_of_a_point()
    arm.connect()
    q = np.repeat(arm.observe().q[None], 25, 0)
    receipt = arm.send(Chunk(0.0, 0.1, q, np.zeros_like(q), "plan"))
    assert receipt.sent == 20 and "over" in receipt.reason
    assert not arm.send(stay(arm)).accepted


def test_an_arm_that_was_never_connected_has_nothing_to_show():
    with pytest.raises(UserError, match="connect"):
        sim_of_a_point().observe()
