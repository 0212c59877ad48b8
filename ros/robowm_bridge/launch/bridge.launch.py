"""Start the bridge: ``ros2 launch robowm_bridge bridge.launch.py arm:=franka checkpoint:=DIR``.

Nothing moves without an approval unless ``mode:=auto`` is asked for.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.substitutions import FindPackageShare

# Name, default, what it is.
ARGUMENTS = (
    ("arm", "simulation", "simulation, franka, ur or xarm: which of the package's parameter files"),
    ("params_file", "", "parameters, in place of those of `arm`"),
    ("checkpoint", "grasp_rotate_place", "a shipped checkpoint's name, or the folder that train.py wrote"),
    ("mode", "confirm", "shadow, confirm or auto"),
    ("autostart", "true", "configure and activate without being asked"),
    ("out", "outputs/bridge", "folder of the recording and of the plan cards"),
    ("namespace", "", "of the node and of its relative topics"),
    ("joint_states", "joint_states", "topic that the driver publishes joint states on"),
    (
        "command",
        "joint_trajectory_controller/joint_trajectory",
        "topic that the arm's controller listens to",
    ),
    ("front", "camera/front/image_raw", "topic of the camera in front"),
    ("wrist", "camera/wrist/image_raw", "topic of the camera at the wrist"),
)  # fmt: skip
# Topic as the node knows it, and the launch argument that names it on this robot.
REMAPPINGS = (
    ("joint_states", "joint_states"),
    ("joint_trajectory_controller/joint_trajectory", "command"),
    ("camera/front/image_raw", "front"),
    ("camera/wrist/image_raw", "wrist"),
)


def generate_launch_description() -> LaunchDescription:
    config = {name: LaunchConfiguration(name) for name, _, _ in ARGUMENTS}
    shipped = PathJoinSubstitution(
        [FindPackageShare("robowm_bridge"), "config", [config["arm"], ".yaml"]]
    )
    declared = [
        DeclareLaunchArgument(
            name, default_value=shipped if name == "params_file" else default, description=said
        )
        for name, default, said in ARGUMENTS
    ]
    node = LifecycleNode(
        package="robowm_bridge",
        executable="bridge",
        name="robowm_bridge",
        namespace=config["namespace"],
        arguments=[
            "arm=ros2",
            *([f"{name}=", config[name]] for name in ("checkpoint", "mode", "autostart", "out")),
        ],
        parameters=[config["params_file"]],
        remappings=[(topic, config[name]) for topic, name in REMAPPINGS],
        output="screen",
        emulate_tty=True,
    )
    return LaunchDescription([*declared, node])
