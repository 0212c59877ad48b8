"""How long a command and its answer take over a link, and how many pictures get lost.

    python ros/latency.py LINK [LINK of the other end]

Two processes: one publishes a joint trajectory (8 points, 8 joints), the other answers with a joint
state; then the other publishes pictures of 224 x 224 at 30 Hz. Figures are of this machine alone.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid

import numpy as np

from robowm.dispatch.wire import LINKS
from robowm.dispatch.wire.messages import Image, JointState, JointTrajectory, Text
from robowm.dispatch.wire.protocol import QoS

TRIPS, PICTURES, RATE_HZ = 500, 300, 30.0
NAMES = tuple(f"joint{n}" for n in range(1, 8)) + ("gripper",)


def echo(kind: str, name: str) -> None:
    """The other end, until it is told to leave."""
    link, over = LINKS[kind](f"{name}_echo"), threading.Event()
    link.open()
    state = link.publisher(f"/{name}/state", JointState, QoS.SENSOR)
    picture = link.publisher(f"/{name}/picture", Image, QoS.SENSOR)
    link.subscribe(
        f"/{name}/command",
        JointTrajectory,
        lambda m: state(JointState(time.time(), m.names, m.position[-1], m.velocity[-1])),
        QoS.COMMAND,
    )

    def show(message: Text) -> None:
        if message.data == "leave":
            over.set()
            return
        pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
        due = time.monotonic()
        for _ in range(PICTURES):
            picture(Image(time.time(), pixels))
            due += 1 / RATE_HZ
            time.sleep(max(0.0, due - time.monotonic()))

    link.subscribe(f"/{name}/show", Text, show, QoS.STATUS)
    over.wait(120)
    link.close()


def measure(kind: str, other: str) -> None:
    name = f"latency_{uuid.uuid4().hex[:8]}"
    process = subprocess.Popen([sys.executable, __file__, "--echo", other, name])
    link = LINKS[kind](name)
    link.open()
    answered, ages = threading.Event(), []
    link.subscribe(f"/{name}/state", JointState, lambda _: answered.set(), QoS.SENSOR)
    link.subscribe(
        f"/{name}/picture", Image, lambda m: ages.append(time.time() - m.stamp_s), QoS.SENSOR
    )
    command = link.publisher(f"/{name}/command", JointTrajectory, QoS.COMMAND)
    show = link.publisher(f"/{name}/show", Text, QoS.STATUS)
    message = JointTrajectory(
        0.0, NAMES, 0.05 * np.arange(1.0, 9.0), np.zeros((8, 8)), np.zeros((8, 8))
    )
    try:
        begin = time.monotonic()
        while not answered.wait(0.1):
            if time.monotonic() > begin + 30:
                raise SystemExit(f"{kind} and {other} did not find each other within 30 s")
            command(message)
        time.sleep(1.0)
        trips, lost = [], 0
        for _ in range(TRIPS):
            answered.clear()
            sent = time.perf_counter()
            command(message)
            if answered.wait(1.0):
                trips.append(1e3 * (time.perf_counter() - sent))
            else:
                lost += 1
            time.sleep(0.005)
        show(Text("show"))
        time.sleep(PICTURES / RATE_HZ + 1.0)
        p50, p99 = np.percentile(trips, [50, 99])
        seen50, seen99 = 1e3 * np.percentile(ages, [50, 99]) if ages else (np.nan, np.nan)
        sys.stdout.write(
            f"{kind} - {other}: round trip p50 {p50:.2f} ms, p99 {p99:.2f} ms, {lost} of {TRIPS} lost; "
            f"pictures p50 {seen50:.1f} ms, p99 {seen99:.1f} ms, {PICTURES - len(ages)} of {PICTURES} "
            "lost\n"
        )
    finally:
        show(Text("leave"))
        process.wait(20)
        link.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--echo"]:
        echo(*sys.argv[2:])
    elif 2 <= len(sys.argv) <= 3:
        measure(sys.argv[1], sys.argv[-1])
    else:
        raise SystemExit("usage: python ros/latency.py LINK [LINK of the other end]")
