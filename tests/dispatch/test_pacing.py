"""Turns in real time, by a clock of the test's."""

import os
import threading

import pytest

from robowm.dispatch.bench.pacing import Every, Pacer, realtime


class Clock:
    def __init__(self):
        self.now_s, self.oversleeps_s = 10.0, 0.0

    def __call__(self):
        return self.now_s

    def sleep(self, span_s):
        self.now_s += span_s + self.oversleeps_s


@pytest.fixture
def clock():
    return Clock()


def pacer(clock, patience_s=0.1):
    return Pacer(0.01, patience_s, clock, clock.sleep)


def test_turns_come_when_they_are_due(clock):
    paced = pacer(clock)
    for turn in range(100):
        assert paced.wait() == 1
        assert clock.now_s == pytest.approx(10.0 + 0.01 * turn)
        clock.now_s += 0.004  # what a turn takes
    assert (paced.turns, paced.overruns, paced.lost_s) == (100, 0, 0.0)


def test_what_was_missed_is_made_up_for(clock):
    paced = pacer(clock)
    paced.wait()
    clock.now_s += 0.035
    assert paced.wait() == 3 and paced.overruns == 2 and paced.lost_s == 0.0
    assert paced.worst_s == pytest.approx(0.025)
    assert paced.due_s == pytest.approx(10.04)
    assert paced.wait() == 1 and clock.now_s == pytest.approx(10.04)
    assert paced.turns == 5  # in the four periods since the first


def test_what_is_too_late_is_given_up(clock):
    paced = pacer(clock)
    paced.wait()
    clock.now_s += 1.0
    assert paced.wait() == 1 and paced.overruns == 1
    assert paced.lost_s == pytest.approx(0.99)
    assert paced.wait() == 1 and clock.now_s == pytest.approx(11.01)


def test_a_lazy_sleep_does_not_add_up(clock):
    paced, clock.oversleeps_s = pacer(clock), 0.0007
    for _ in range(1000):
        paced.wait()
    assert paced.turns == 1000 and clock.now_s == pytest.approx(10 + 9.99 + 0.0007)
    assert paced.overruns == 0


def test_something_comes_as_often_as_it_is_asked_to():
    every = Every(30.0)
    due = [i for i in range(2000) if every.due(5.0 + i * 0.002)]
    assert len(due) == 120 and due[0] == 0
    assert not any(Every(0.0).due(i) for i in range(3))


def test_after_a_pause_it_does_not_come_in_a_burst():
    every = Every(10.0)
    assert every.due(0.0) and every.due(3.0)
    assert not every.due(3.05) and every.due(3.1)


def test_what_hurries_is_one_thread_and_those_it_starts():
    told = []

    def hurry():
        with realtime(10) as granted:
            told.append(os.SCHED_FIFO if granted else os.SCHED_OTHER)
            started = threading.Thread(target=lambda: told.append(os.sched_getscheduler(0)))
            started.start()
            started.join()
            with realtime(20):
                told.append(os.sched_getscheduler(0))
            told.append(os.sched_getscheduler(0))
        told.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=hurry)
    thread.start()
    thread.join()
    assert told == [*[told[0]] * 4, os.SCHED_OTHER]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_nothing_is_asked_for_where_there_is_no_hurry():
    with realtime(0) as granted:
        assert not granted and os.sched_getscheduler(0) == os.SCHED_OTHER
