"""What a bad network does to commands, and to nothing else."""

import contextlib

import numpy as np
import pytest

from robowm.dispatch.wire.faulty import FaultyLink, WireFaultsConfig
from robowm.dispatch.wire.local import Bus, LocalLink
from robowm.dispatch.wire.messages import Numbers
from robowm.dispatch.wire.protocol import QoS
from robowm.errors import UserError
from tests.dispatch.live import until


@contextlib.contextmanager
def faulty(qos=QoS.COMMAND, **settings):
    """Publish a number; the numbers that arrived."""
    bus, heard = Bus(), []
    link = FaultyLink(WireFaultsConfig(**settings), LocalLink("one", bus=bus))
    other = LocalLink("other", bus=bus)
    link.open()
    other.open()
    # Everything that arrives is to be seen here: a command's own queue is one deep.
    other.subscribe("/command", Numbers, lambda m: heard.append(int(m.data[0])), QoS.STATUS)
    publish = link.publisher("/command", Numbers, qos)
    try:
        yield (lambda number: publish(Numbers(np.array([float(number)])))), heard, link
    finally:
        link.close()
        other.close()


def test_without_faults_all_arrives_at_once_and_in_order():
    with faulty() as (publish, heard, _):
        for number in range(50):
            publish(number)
        until(lambda: len(heard) == 50)
        assert heard == list(range(50))


def test_some_are_lost_the_same_for_the_same_seed():
    lost = []
    for _ in range(2):
        with faulty(drop=0.3, seed=5) as (publish, heard, link):
            for number in range(200):
                publish(number)
            until(lambda: len(heard) == 200 - link.counts["drop"])
            lost.append(set(range(200)) - set(heard))
    assert lost[0] == lost[1] and 30 < len(lost[0]) < 90


def test_some_come_twice_and_some_later():
    with faulty(duplicate=0.3, reorder=0.3, again_s=0.05) as (publish, heard, link):
        for number in range(100):
            publish(number)
        until(lambda: len(heard) == 100 + link.counts["duplicate"])
        assert set(heard) == set(range(100)) and heard != sorted(heard)


def test_all_are_delayed_alike():
    with faulty(delay_s=0.2) as (publish, heard, _):
        publish(1)
        publish(2)
        assert not heard
        until(lambda: heard == [1, 2])


def test_what_is_no_command_is_left_alone():
    with faulty(qos=QoS.STATUS, drop=1.0) as (publish, heard, _):
        publish(1)
        until(lambda: heard == [1])


def test_what_is_under_way_is_lost_when_it_closes():
    with faulty(delay_s=30.0) as (publish, heard, link):
        publish(1)
        link.close()
        link.open()
        assert not heard


@pytest.mark.parametrize("settings", [{"drop": 1.5}, {"delay_s": -1.0}, {"again_s": 0.0}])
def test_what_cannot_be_is_refused(settings):
    with pytest.raises(UserError, match=f"faults.*{next(iter(settings))}"):
        WireFaultsConfig(**settings)
