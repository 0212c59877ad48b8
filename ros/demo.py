"""A shipped model drives the stand-in of a real arm over ROS 2: two processes that know messages alone.

    python ros/demo.py [EPISODES] [-- settings of scripts/bridge.py]

needs the environment of ``make ros-kilted``. What comes of it is in outputs/bridge-demo.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from environments import ROOT, clean, python_of

EPISODES = 5
SEED = 12345  # the first of the starts that the shipped models were measured on
END_S = 10.0
NETWORK = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",  # what a killed process leaves in shared memory harms nobody
    "OMP_NUM_THREADS": "1",
}


def main(episodes: int, settings: list[str]) -> int:
    python = python_of("kilted")
    if not python.exists():
        sys.stderr.write("error: there is no .venv-kilted: make ros-kilted\n")
        return 2
    # A domain of its own: nothing of this reaches another robot on this machine.
    env = NETWORK | {"ROS_DOMAIN_ID": str(100 + os.getpid() % 100)} | clean()
    server = subprocess.Popen([python, "scripts/arm_server.py", "link=ros2"], cwd=ROOT, env=env)
    try:
        out = f"outputs/bridge-demo/{time.strftime('%Y-%m-%d_%H-%M-%S')}"
        return subprocess.run(
            [python, "scripts/bridge.py", "arm=ros2", "mode=auto", "checkpoint=grasp_rotate_place",
             f"episodes={episodes}", f"seed={SEED}", f"out={out}", *settings],
            cwd=ROOT, env=env, check=False,
        ).returncode  # fmt: skip
    except KeyboardInterrupt:
        return 130
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(END_S)
        except subprocess.TimeoutExpired:
            server.kill()


if __name__ == "__main__":
    given, _, settings = " ".join(sys.argv[1:]).partition("--")
    if not (given.strip() or "0").isdigit():
        raise SystemExit("usage: python ros/demo.py [EPISODES] [-- settings of scripts/bridge.py]")
    raise SystemExit(main(int(given.strip() or EPISODES), settings.split()))
