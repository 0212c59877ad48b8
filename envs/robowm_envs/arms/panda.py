"""A Franka-Panda-class arm, written out as numbers: nothing is downloaded, nothing is a mesh.

Sources:
  kinematics and joint limits: Franka Emika, "Robot and interface specifications" of the Franka
    Control Interface documentation (Denavit-Hartenberg parameters in Craig's convention; joint
    position, velocity and torque limits);
  masses and inertias: C. Gaz, M. Cognetti, A. Oliva, P. Robuffo Giordano, A. De Luca, "Dynamic
    Identification of the Franka Emika Panda Robot With Retrieval of Feasible Parameters Using
    Penalty-Based Optimization", IEEE RA-L 4(4), 2019;
  hand: Franka Emika, "Product manual: Franka Hand" (0.73 kg, 2 x 40 mm stroke);
  servo gains: the position servos that the widely used MuJoCo models of this arm have.
Geoms are capsules and boxes fitted by eye to the published outline.
"""

from __future__ import annotations

import mujoco
import numpy as np

from robowm_envs.arms.protocol import Arm

# Rows: a (m), d (m), alpha (rad), Craig's convention. The eighth row is the flange.
DH = np.array(
    [
        [0.0, 0.333, 0.0],
        [0.0, 0.0, -np.pi / 2],
        [0.0, 0.316, np.pi / 2],
        [0.0825, 0.0, np.pi / 2],
        [-0.0825, 0.384, -np.pi / 2],
        [0.0, 0.0, np.pi / 2],
        [0.088, 0.0, np.pi / 2],
        [0.0, 0.107, 0.0],
    ]
)
HAND_YAW_RAD = -np.pi / 4  # the hand is screwed to the flange an eighth of a turn back
TCP_Z_M = 0.1034  # from the hand's base to the point between the fingertips

JOINT_LOW = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
JOINT_HIGH = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
JOINT_VELOCITY = np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61])
JOINT_TORQUE = np.array([87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0])
# Damping is kept where a torque limit is not met within one time step: a stiffer servo saturates at
# every step in turn and shakes at rest (with 200 on the wrist: 0.2 rad/s, at 100 Hz).
STIFFNESS = np.array([6000.0, 6000.0, 4500.0, 4500.0, 2000.0, 2000.0, 2000.0])
DAMPING = np.array([200.0, 200.0, 150.0, 150.0, 40.0, 40.0, 40.0])

# Hand pointing down over the middle of the workspace, elbow up.
REST = np.array([0.0, -0.16, 0.0, -2.38, 0.0, 2.22, np.pi / 4])

FINGER_STROKE_M = 0.04
GRIP_FORCE_N = 20.0  # the hand can hold with 70 N; a gentle grasp makes slip possible

# mass (kg), centre of mass (m), inertia xx yy zz xy xz yz (kg m^2), each in its link's frame.
_INERTIAL = {
    "link0": (0.629769, (-0.041018, -0.00014, 0.049974), (0.00315, 0.00388, 0.004285, 8.2904e-7, 0.00015, 8.2299e-6)),
    "link1": (4.970684, (0.003875, 0.002081, -0.04762), (0.70337, 0.70661, 0.009117, -0.000139, 0.006772, 0.019169)),
    "link2": (0.646926, (-0.003141, -0.02872, 0.003495), (0.007962, 0.02811, 0.025995, -0.003925, 0.010254, 0.000704)),
    "link3": (3.228604, (0.027518, 0.039252, -0.066502), (0.037242, 0.036155, 0.01083, -0.004761, -0.011396, -0.012805)),
    "link4": (3.587895, (-0.05317, 0.104419, 0.027454), (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641)),
    "link5": (1.225946, (-0.011953, 0.041065, -0.038437), (0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229)),
    "link6": (1.666555, (0.060149, -0.014117, -0.010517), (0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341)),
    "link7": (0.735522, (0.010517, -0.004252, 0.061597), (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741)),
    "hand": (0.73, (-0.01, 0.0, 0.03), (0.001, 0.0025, 0.0017, 0.0, 0.0, 0.0)),
    "finger": (0.015, (0.0, 0.005, 0.03), (2.375e-6, 2.375e-6, 7.5e-7, 0.0, 0.0, 0.0)),
}  # fmt: skip

# Capsules of each link: from (m), to (m), radius (m), accent colour.
_CAPSULES: dict[str, tuple[tuple[tuple[float, ...], tuple[float, ...], float, bool], ...]] = {
    "link0": (((-0.06, 0, 0.06), (0, 0, 0.06), 0.06, False), ((0, 0, 0.06), (0, 0, 0.14), 0.055, False)),
    "link1": (((0, 0, -0.19), (0, 0, -0.02), 0.058, False),),
    "link2": (((0, 0, -0.06), (0, 0, 0.06), 0.06, True), ((0, -0.02, 0), (0, -0.13, 0), 0.055, False)),
    "link3": (((0, 0, -0.13), (0, 0, -0.06), 0.055, False), ((0.0825, -0.03, 0), (0.0825, 0.06, 0), 0.052, False)),
    "link4": (((0, 0, -0.06), (0, 0, 0.06), 0.053, True), ((-0.0825, 0.06, 0), (-0.0825, 0.10, 0), 0.052, False)),
    "link5": (((0, 0, -0.25), (0, 0, -0.16), 0.052, False), ((0, 0.08, -0.13), (0, 0.06, 0), 0.035, False)),
    "link6": (((0, 0, -0.05), (0, 0, 0.01), 0.048, True), ((0.088, 0, -0.02), (0.088, 0.04, 0), 0.045, False)),
    "link7": (((0, 0, 0.04), (0, 0, 0.085), 0.042, False),),
}  # fmt: skip

# Hand, fingers and pads, covered for planning around things; see Arm.hand_balls.
WIDTH_MAX_M = 2 * FINGER_STROKE_M
HAND_BALLS = np.array(
    [
        *([0.0, y, -0.068, 0.041, 0.0] for y in np.linspace(-0.08, 0.08, 5)),
        *([0.0, side * 0.015, -0.030, 0.023, side] for side in (1, -1)),
        *([0.0, side * 0.008, -0.004, 0.017, side] for side in (1, -1)),
    ]
)

WHITE, ACCENT = (0.92, 0.93, 0.95, 1), (0.30, 0.33, 0.40, 1)
DARK, PAD = (0.16, 0.17, 0.20, 1), (0.10, 0.45, 0.90, 1)


def forward(joint_position: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward kinematics from the Denavit-Hartenberg table, without a simulator.

    Args:
      joint_position: [7], rad.

    Returns:
      Position [3] (m) and rotation [3, 3] of the tool centre point in the base frame, and its
      geometric Jacobian [6, 7], linear rows first.
    """
    pose = np.eye(4)
    axes, origins = np.empty((7, 3)), np.empty((7, 3))
    for i, (a, d, alpha) in enumerate(DH):
        theta = joint_position[i] if i < 7 else HAND_YAW_RAD
        c, s, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
        pose = pose @ np.array(
            [
                [c, -s, 0, a],
                [s * ca, c * ca, -sa, -d * sa],
                [s * sa, c * sa, ca, d * ca],
                [0, 0, 0, 1],
            ]
        )
        if i < 7:
            axes[i], origins[i] = pose[:3, 2], pose[:3, 3]
    rotation = pose[:3, :3].copy()
    position = pose[:3, 3] + rotation[:, 2] * TCP_Z_M
    jacobian = np.vstack([np.cross(axes, position - origins).T, axes.T])
    return position, rotation, jacobian


def build() -> Arm:
    """The arm as an MjSpec with a tool site ``tcp``, a body ``hand`` and pads on both fingers."""
    spec = mujoco.MjSpec()
    spec.modelname = "panda"
    spec.compiler.degree = False
    spec.compiler.autolimits = True

    capsule, box = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_BOX

    def inertial(body: mujoco.MjsBody, name: str) -> None:
        body.mass, body.ipos, body.fullinertia = _INERTIAL[name]
        body.explicitinertial = True

    def geom(body: mujoco.MjsBody, kind: mujoco.mjtGeom, rgba: tuple[float, ...], **kwargs) -> None:
        body.add_geom(type=kind, rgba=rgba, contype=1, conaffinity=0, group=2, **kwargs)

    def capsules(body: mujoco.MjsBody, name: str) -> None:
        for start, end, radius, accent in _CAPSULES[name]:
            rgba = ACCENT if accent else WHITE
            geom(body, capsule, rgba, fromto=[*start, *end], size=[radius, 0, 0])

    body = spec.worldbody.add_body(name="link0", gravcomp=1)
    inertial(body, "link0")
    capsules(body, "link0")
    for i, (a, d, alpha) in enumerate(DH[:7]):
        name = f"link{i + 1}"
        # Craig: translate along the old x, turn about it, then translate along the new z.
        offset = [a, -d * np.sin(alpha), d * np.cos(alpha)]
        turn = [np.cos(alpha / 2), np.sin(alpha / 2), 0, 0]
        body = body.add_body(name=name, pos=offset, quat=turn, gravcomp=1)
        inertial(body, name)
        body.add_joint(
            name=f"joint{i + 1}",
            type=mujoco.mjtJoint.mjJNT_HINGE,
            axis=[0, 0, 1],
            range=[JOINT_LOW[i], JOINT_HIGH[i]],
            armature=0.1,
            damping=1.0,
        )
        capsules(body, name)

    half = HAND_YAW_RAD / 2
    hand = body.add_body(
        name="hand", pos=[0, 0, DH[7, 1]], quat=[np.cos(half), 0, 0, np.sin(half)], gravcomp=1
    )
    inertial(hand, "hand")
    geom(hand, box, WHITE, pos=[0, 0, 0.035], size=[0.022, 0.1, 0.032])
    hand.add_site(name="tcp", pos=[0, 0, TCP_Z_M], size=[0.005, 0, 0], group=4)
    for side, quat in (("left", [1, 0, 0, 0]), ("right", [0, 0, 0, 1])):
        finger = hand.add_body(name=f"{side}_finger", pos=[0, 0, 0.0584], quat=quat, gravcomp=1)
        inertial(finger, "finger")
        finger.add_joint(
            name=f"{side}_finger",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[0, 1, 0],
            range=[0, FINGER_STROKE_M],
            armature=0.1,
            damping=100.0,  # holds the fingers to about 0.1 m/s at full force
        )
        geom(finger, box, DARK, pos=[0, 0.016, 0.016], size=[0.0105, 0.008, 0.020])
        pad = f"{side}_pad"
        geom(finger, box, PAD, pos=[0, 0.005, 0.044], size=[0.010, 0.005, 0.0095], name=pad)

    for i in range(7):
        actuator = spec.add_actuator(
            name=f"joint{i + 1}",
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            target=f"joint{i + 1}",
            forcerange=[-JOINT_TORQUE[i], JOINT_TORQUE[i]],
        )
        actuator.set_to_position(kp=STIFFNESS[i], kv=DAMPING[i])
    # One motor drives both fingers: the tendon's length is the width of the opening.
    tendon = spec.add_tendon(name="fingers")
    tendon.wrap_joint("left_finger", 1.0)
    tendon.wrap_joint("right_finger", 1.0)
    spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT, name1="left_finger", name2="right_finger",
        objtype=mujoco.mjtObj.mjOBJ_JOINT, data=[0, 1] + [0] * 10,
    )  # fmt: skip
    actuator = spec.add_actuator(
        name="gripper",
        trntype=mujoco.mjtTrn.mjTRN_TENDON,
        target="fingers",
        forcerange=[-GRIP_FORCE_N, GRIP_FORCE_N],
    )
    actuator.set_to_position(kp=1000.0)
    return Arm(
        spec=spec,
        joints=tuple(f"joint{i + 1}" for i in range(7)),
        fingers=("left_finger", "right_finger"),
        gripper="gripper",
        gripper_open=2 * FINGER_STROKE_M,
        gripper_closed=0.0,
        pads=(("left_pad",), ("right_pad",)),
        hand="hand",
        tcp="tcp",
        rest=REST,
        joint_velocity=JOINT_VELOCITY,
        width_max_m=WIDTH_MAX_M,
        hand_balls=HAND_BALLS,
    )
