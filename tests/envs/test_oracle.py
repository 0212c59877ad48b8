"""The oracle of the safety gate: what it measures of motions whose limits are known in closed form."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from robowm_envs.oracle import Oracle
from robowm_envs.twin import Twin

N = 8
REST = np.array([0.0, -0.16, 0.0, -2.38, 0.0, 2.22, np.pi / 4, 0.08])
LIMITS = SimpleNamespace(
    joints=tuple("abcdefgh"),
    position_low=(-2.7,) * 7 + (0.0,),
    position_high=(3.0,) * 7 + (0.08,),
    velocity=(2.0,) * 7 + (np.inf,),
    acceleration=(40.0,) * 7 + (np.inf,),
    jerk=(40_000.0,) * 7 + (np.inf,),
    workspace_low=(0.2, -0.4, 0.0),
    workspace_high=(0.8, 0.4, 0.5),
    rate_hz=10.0,
    servo_hz=500.0,
    force_n=50.0,
)
RULES = SimpleNamespace(
    stale_periods=5.0, fresh_periods=2.0, tracking_tolerance=0.1, rest_speed=0.1, max_duration_s=3.0
)


@dataclasses.dataclass(frozen=True)
class Chunk:
    q: np.ndarray
    dq: np.ndarray
    t0_s: float = 0.0
    dt_s: float = 0.5
    joints: tuple[str, ...] = LIMITS.joints


def seen(q=REST, stamp_s=0.0, age_s=0.0, **changes):
    facts = {"q": q, "dq": np.zeros(N), "stamp_s": stamp_s, "age_s": age_s, "wrench": None}
    return SimpleNamespace(**(facts | changes))


def turned(rad, joint=6, **changes):
    """From rest at REST to rest."""
    q = REST.copy()
    q[joint] += rad
    return Chunk(q[None], np.zeros((1, N)), **changes)


def excess(chunk, observation=None, **limits):
    oracle = Oracle(SimpleNamespace(**(vars(LIMITS) | limits)), RULES)
    return oracle.excess(chunk, observation or seen(), movable=True, stale=False)


def test_speed_acceleration_and_jerk_of_a_cubic_are_measured():
    found = excess(turned(0.4))  # in 0.5 s: 1.5 d / T, 6 d / T^2, and a step of that
    assert found["velocity"] == pytest.approx(1.5 * 0.4 / 0.5 / 2.0 - 1, abs=1e-3)
    assert found["acceleration"] == pytest.approx(6 * 0.4 / 0.25 / 40 - 1, abs=2e-3)
    # Third differences see three quarters of a step at most: they never claim more than there is.
    assert 0.6 < (found["jerk"] + 1) / (9.6 * 500 / 40_000) <= 1.0
    assert found["position"] == pytest.approx(
        REST[3] * -1 - 2.7
    )  # the elbow is the nearest to its limit


def test_it_follows_what_it_is_told():
    oracle = Oracle(LIMITS, RULES)
    oracle.follow(turned(0.4), seen())
    u = np.linspace(0, 1, 11)
    np.testing.assert_allclose(
        oracle.position(0.0, 0.5 * u)[:, 6], REST[6] + 0.4 * (3 * u**2 - 2 * u**3), atol=1e-12
    )
    q, dq = oracle.state(0.25)
    np.testing.assert_allclose(q, oracle.position(0.25), atol=1e-12)
    assert dq[6] == pytest.approx(1.5 * 0.4 / 0.5)
    other = oracle.fork()
    other.hold(seen(oracle.position(0.25), 0.25))  # 1.2 rad/s at 20 rad/s^2
    assert other.end_s == pytest.approx(0.25 + 1.2 / 20)
    assert other.position(1.0)[6] == pytest.approx(REST[6] + 0.2 + 1.2**2 / 40)
    assert other.position(0.1)[6] == pytest.approx(oracle.position(0.1)[6])
    assert oracle.end_s == 0.5  # the first goes on alone


@pytest.mark.parametrize(
    ("chunk", "observation", "rule"),
    [
        (turned(0.1, joints=("x",) * N), None, "joints"),
        (Chunk(np.zeros((1, 3)), np.zeros((1, 3))), None, "shape"),
        (turned(np.nan), None, "finite"),
        (turned(0.1, dt_s=0.0), None, "times"),
        (dataclasses.replace(turned(0.1), dq=np.full((1, N), 0.1)), None, "end"),
        (turned(0.1, dt_s=3.1), None, "duration"),
        (turned(0.1, t0_s=3.1), None, "future"),
        (turned(2.3, dt_s=2.9), None, "position"),
        (turned(0.7), None, "velocity"),
        (turned(0.1, dt_s=0.1), None, "acceleration"),
        (turned(0.1), seen(np.full(N, np.nan)), "measured"),
        (turned(0.1), seen(dq=np.full(N, 0.2)), "moving"),
        (turned(0.1), seen(wrench=np.array([0, 0, 51.0, 0, 0, 0])), "force"),
        (turned(0.5, joint=0, dt_s=2.0), None, ""),
        (turned(1.2, joint=0, dt_s=2.9), None, "workspace"),
        (turned(0.7, joint=1, dt_s=2.9), None, "collision"),
    ],
)
def test_each_rule_is_missed_where_it_is_broken(chunk, observation, rule):
    oracle = Oracle(LIMITS, RULES)
    faults, clear = oracle.judge(chunk, observation or seen(), movable=True, stale=False)
    assert clear == (rule == "")
    assert rule in faults if rule else not faults


def test_what_touches_is_what_the_twin_sees():
    """Two models of one arm, one by contacts and distances of all pairs: they agree on what is near."""
    twin, oracle = Twin(), Oracle(LIMITS, RULES)
    rng = np.random.default_rng(0)
    low, high = twin._physics.joint_low, twin._physics.joint_high
    touching = 0
    for _ in range(300):
        q = np.append(rng.uniform(low, high), 0.04)
        distance = twin.look(q)[1]
        overlap = oracle._bodies.excess(q[None], np.array([[-9.0] * 3, [9.0] * 3]))["collision"]
        touching += overlap > 0
        if distance > 0.004:  # what fingers are allowed, and rounding
            assert overlap <= 0
        if overlap < -0.0059:
            assert distance > 0
    assert 30 < touching < 270
