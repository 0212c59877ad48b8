"""The contract of every arm backend. A new one adds a line to BACKENDS.

Arms of a middleware drive a controller without an arm; where that is not installed they are skipped.
"""

import numpy as np
import pytest

from robowm.dispatch import ARMS
from robowm.dispatch.arm import Arm, ArmState
from robowm.dispatch.arms.faulty import FaultsConfig, FaultyArm
from robowm.dispatch.arms.sim import SimArm, SimArmConfig
from robowm.dispatch.trajectory import Trajectory, chunk_of, through
from robowm.errors import UserError
from tests.dispatch.controller import arm_and_controller, limits
from tests.dispatch.toy import PointArmEnv, PointPort


def sim_of_a_point():
    env = PointArmEnv()
    return SimArm(SimArmConfig(limits=limits()), env, PointPort(env), seed=0)


def over(kind):
    def make(request):
        try:
            arm, controller = arm_and_controller(kind)
        except UserError as error:
            pytest.skip(f"{kind}: {error}")
        request.addfinalizer(controller.close)
        return arm

    return make


BACKENDS = {
    "sim": lambda _: sim_of_a_point(),
    "faulty": lambda _: FaultyArm(FaultsConfig(), sim_of_a_point()),
    "local": over("local"),
    "ros2": over("ros2"),
    "dds": over("dds"),
    "ros1": over("ros1"),
}
SIMULATED = ("sim", "faulty")  # their clock stands while nobody waits


def test_every_registered_arm_is_held_to_the_contract():
    assert set(ARMS) <= set(BACKENDS)


@pytest.fixture(params=sorted(BACKENDS))
def arm(request):
    made = BACKENDS[request.param](request)
    yield made
    made.close()


@pytest.fixture
def late_s(arm, request):
    """How much later than asked for a real clock may be read on a busy machine."""
    return 0.01 if request.node.callspec.params["arm"] in SIMULATED else 0.3


def towards(arm, *steps):
    """A chunk from where the arm is through as many places, each a step further, and to rest; half a
    second longer than that takes, so that it is not over before a busy machine has sent it."""
    seen = arm.observe()
    steps = [*steps, *[(0.0, 0.0, 0.0)] * 5]
    targets = seen.q + np.cumsum(np.array(steps, float), axis=0)
    period = 1 / arm.spec.rate_hz
    rest = Trajectory.rest(seen.stamp_s, seen.q)
    path = through(targets, rest, seen.stamp_s, period, period / 2, arm.spec)
    return chunk_of(path, seen.stamp_s, period / 2, "plan", arm.spec.joints)


def after(arm, seconds):
    """What the arm shows when its clock is so much further."""
    arm.wait(arm.observe().stamp_s + seconds)
    return arm.observe()


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
    assert arm.send(towards(arm)).accepted
    arm.hold()
    assert arm.state is ArmState.HOLDING
    assert arm.send(towards(arm)).accepted
    assert arm.state is ArmState.READY
    arm.close()
    assert arm.state is ArmState.DISCONNECTED


def test_nothing_is_sent_before_connecting(arm):
    q = np.array(arm.spec.position_low)
    chunk = chunk_of(Trajectory.rest(0.0, q), 0.0, 0.1, "p", arm.spec.joints)
    receipt = arm.send(chunk)
    assert not receipt.accepted and receipt.sent == 0 and "disconnected" in receipt.reason


def test_the_emergency_stop_is_latched_until_reset(arm):
    arm.connect()
    before = arm.observe().q
    arm.estop()
    for _ in range(2):
        assert arm.state is ArmState.STOPPED
        assert not arm.send(towards(arm, (0.01, 0, 0))).accepted
        arm.hold()
        arm.wait(arm.observe().stamp_s + 0.01)
    np.testing.assert_allclose(arm.observe().q, before, atol=1e-3)
    arm.reset()
    assert arm.state is ArmState.HOLDING
    assert arm.send(towards(arm)).accepted


def test_an_arm_can_be_connected_again(arm):
    for _ in range(2):
        arm.connect()
        assert arm.state is ArmState.READY
        assert arm.send(towards(arm)).accepted
        arm.close()
        assert not arm.send(towards(arm)).accepted


def test_an_emergency_stop_outlasts_the_connection(arm):
    arm.estop()
    arm.connect()
    assert arm.state is ArmState.STOPPED and not arm.send(towards(arm)).accepted
    arm.close()
    assert arm.state is ArmState.STOPPED
    arm.reset()
    assert arm.state is ArmState.DISCONNECTED


def test_reset_leaves_a_healthy_arm_as_it_is(arm):
    arm.reset()
    assert arm.state is ArmState.DISCONNECTED
    arm.connect()
    arm.reset()
    assert arm.state is ArmState.READY


def test_observations_are_stamped_and_measured(arm, late_s):
    arm.connect()
    first = arm.observe()
    n = len(arm.spec.joints)
    assert first.q.shape == first.dq.shape == (n,) and np.isfinite(first.q).all()
    assert first.age_s >= 0 and first.arrays
    later = after(arm, 1 / arm.spec.rate_hz)
    assert abs(later.stamp_s - first.stamp_s - 1 / arm.spec.rate_hz) < late_s
    assert later.received_s >= first.received_s


def test_a_chunk_moves_the_arm_through_its_waypoints_and_to_rest(arm, late_s):
    arm.connect()
    start = arm.observe().q
    chunk = towards(arm, (0.01, 0, 0), (0.01, 0, 0), (0.0, -0.01, 0))
    receipt = arm.send(chunk)
    assert receipt.accepted and receipt.sent > 0
    moved = after(arm, 0.2).q - start
    np.testing.assert_allclose(moved[:2], [0.02, 0.0], atol=1e-3 + 0.1 * late_s)
    final = after(arm, 0.5)
    np.testing.assert_allclose(final.q[:2], chunk.q[-1, :2], atol=2e-3)
    assert np.abs(final.q - after(arm, 0.2).q).max() < 1e-3


def test_a_newer_chunk_takes_the_place_of_the_one_before(arm):
    arm.connect()
    start = arm.observe().q
    arm.send(towards(arm, *[(0.02, 0, 0)] * 5))
    after(arm, 0.1)
    arm.send(towards(arm, (0.0, 0.01, 0)))
    moved = after(arm, 0.6).q - start
    assert moved[0] < 0.05 and moved[1] > 0.005


def test_a_held_arm_brakes_and_stands_while_the_world_goes_on(arm, late_s):
    arm.connect()
    arm.send(towards(arm, *[(0.02, 0, 0)] * 5))
    before = after(arm, 0.1)
    arm.hold()
    stood = after(arm, 0.4)
    assert 0 <= stood.q[0] - before.q[0] < 0.02 + 0.2 * late_s
    later = after(arm, 0.2)
    np.testing.assert_allclose(later.q[:2], stood.q[:2], atol=1e-3)
    assert abs(later.stamp_s - before.stamp_s - 0.6) < 2 * late_s


def test_the_simulation_ends_where_the_episode_does():
    arm = sim_of_a_point()
    arm.connect()
    assert arm.send(towards(arm)).accepted
    assert after(arm, 5.0).stamp_s == pytest.approx(2.0)
    receipt = arm.send(towards(arm))
    assert not receipt.accepted and "over" in receipt.reason


def test_an_arm_that_was_never_connected_has_nothing_to_show(arm):
    with pytest.raises(UserError, match="connect"):
        arm.observe()
