"""From a plan to an arm: one interface, one safety gate, one loop, and a file a backend."""

from robowm.registry import Registry

ARMS = Registry(
    "arm",
    {
        "sim": "robowm.dispatch.arms.sim:SimArm",
        "ros2": "robowm.dispatch.arms.ros:Ros2Arm",
        "dds": "robowm.dispatch.arms.ros:DdsArm",
        "ros1": "robowm.dispatch.arms.ros:Ros1Arm",
    },
)
