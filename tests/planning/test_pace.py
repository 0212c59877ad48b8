import pytest

from robowm.planning.pace import Pace


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def plan(pace, clock, rounds, round_s, ending_s):
    """How many rounds were done of those wanted."""
    pace.begin()
    for _ in range(rounds):
        if not pace.allows_another():
            break
        clock.now += round_s
        pace.round_ends()
    clock.now += ending_s
    pace.end()
    return pace.rounds


def test_rounds_that_would_not_end_in_time_are_left_out():
    clock = Clock()
    pace = Pace(0.1, clock)
    assert plan(pace, clock, 5, 0.03, 0.02) == 3  # nothing is known of its ending yet
    assert plan(pace, clock, 5, 0.03, 0.02) == 2  # 2 x 0.03 + 0.02; a third would end at 0.11
    begun = clock.now
    plan(pace, clock, 5, 0.03, 0.02)
    assert clock.now - begun <= 0.1


def test_a_slow_round_is_remembered_and_forgotten_in_time():
    clock = Clock()
    pace = Pace(0.1, clock)
    plan(pace, clock, 1, 0.08, 0.0)
    assert plan(pace, clock, 5, 0.01, 0.0) < 5
    for _ in range(80):
        plan(pace, clock, 5, 0.01, 0.0)
    assert plan(pace, clock, 5, 0.01, 0.0) == 5


@pytest.mark.parametrize("round_s", [0.01, 10.0])
def test_without_a_deadline_all_rounds_are_done(round_s):
    clock = Clock()
    pace = Pace(None, clock)
    assert [plan(pace, clock, 3, round_s, 1.0) for _ in range(3)] == [3, 3, 3]


def test_no_time_is_no_round():
    clock = Clock()
    pace = Pace(0.1, clock)
    plan(pace, clock, 1, 0.2, 0.0)
    assert plan(pace, clock, 5, 0.2, 0.0) == 0
