"""What tests of links and arms need of the machine: networks of their own, and a ROS 1 master."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import time

import pytest

COUNT = itertools.count(os.getpid() * 7)


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain that no other test is in, on this machine alone."""
    monkeypatch.setenv(
        "ROS_DOMAIN_ID", str(1 + next(COUNT) % 100)
    )  # 101 is the last that Linux has
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # Shared memory outlives a process that is killed.
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")


@pytest.fixture(scope="session", autouse=True)
def master():
    """A ROS 1 master, where rospy can be imported; for all tests, since a process has one node."""
    try:
        import rosgraph
    except ImportError:
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"ROS_MASTER_URI": f"http://127.0.0.1:{port}", "ROS_IP": "127.0.0.1"}
    program = shutil.which("rosmaster")
    assert program, "rospy is there, rosmaster is not: apt-get install ros-core"
    process = subprocess.Popen(
        [program, "--core", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while not rosgraph.is_master_online():
            assert time.monotonic() < deadline, "rosmaster does not start"
            time.sleep(0.05)
        yield
    finally:
        with contextlib.suppress(ImportError):
            import rospy

            if rospy.core.is_initialized():
                rospy.signal_shutdown("the tests are over")
        process.terminate()
        process.wait(10)
