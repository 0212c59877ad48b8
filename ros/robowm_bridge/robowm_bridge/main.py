"""``ros2 run robowm_bridge bridge checkpoint=... --ros-args ...``"""

from typing import NoReturn


def main() -> NoReturn:
    from robowm import cli
    from robowm_bridge import bridge

    cli.run(bridge.main, "bridge")
