"""From a plan to an arm: one interface, one safety gate, one loop, and a file a backend."""

from robowm.registry import Registry

ARMS = Registry(
    "arm",
    {
        "sim": "robowm.dispatch.sim:SimArm",
        "ros2": "robowm.dispatch.ros:Ros2Arm",
        "dds": "robowm.dispatch.ros:DdsArm",
        "ros1": "robowm.dispatch.ros:Ros1Arm",
    },
)
