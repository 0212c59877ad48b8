"""What joins an arm and its commander when they are two programs: a few messages, and a link for each
middleware that carries them. Nothing here knows what is sent, or why."""

from robowm.registry import Registry

LINKS = Registry(
    "link",
    {
        "local": "robowm.dispatch.wire.local:LocalLink",
        "ros2": "robowm.dispatch.wire.ros2:Ros2Link",
        "dds": "robowm.dispatch.wire.dds:DdsLink",
        "ros1": "robowm.dispatch.wire.ros1:Ros1Link",
    },
)
