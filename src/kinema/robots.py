"""One table: kinematics, masses and limits of each arm and of the gripper.

Everything that models a robot is made from here: the MJCF of the virtual cell, the URDFs in urdf/, the pinocchio model
of the control loop, the limits of the safety chain.

Sources
- UR3, UR5, UR10 of both generations: Universal Robots, "DH Parameters for calculations of kinematics and dynamics" (a,
  d, alpha, masses, centres of mass), "Max. joint torques", and the technical specifications (ranges, speeds, payload).
  The elbow can't turn further than half a turn, whatever its range. A UR3's last joint turns without end; here it has
  the range of the others.
- xArm 7: UFACTORY, "xArm User Manual", appendix on kinematic and dynamic parameters (standard DH, masses), joint
  ranges and speeds from its technical specifications; efforts from the published URDF.
- Link inertias are those of solid cylinders along the link, because the tensors published for the two arms are not
  given in one form; friction is a virtual-cell estimate, see `virtual/noise.yaml` for its source. Radii, rotors,
  friction and damping of the UR3 and UR10 sizes are the UR5e's, scaled by the size of the joint: nobody measured them.
- Gripper: a parallel gripper with 85 mm stroke, the geometry of the handheld one; our own design.
"""

import math
from dataclasses import dataclass

import numpy as np

from kinema.errors import ConfigError
from kinema.geometry import Array, Pose

_HALF = math.pi / 2
_GRAVITY = 9.81  # [m/s^2]
_E_SERIES, _CB3 = 0.002, 0.008  # [s] control cycles of UR's two generations of controllers


@dataclass(frozen=True, slots=True)
class Joint:
    """A revolute joint and the link it moves, by standard DH: Rz(q) Tz(d) Tx(a) Rx(alpha).

    name       as in /joint_states
    a, d       [m]
    alpha      [rad]
    lower, upper [rad]; speed [rad/s]; torque [N m]: limits
    mass       [kg] of the link
    com        [m] centre of mass, in the DH frame that follows the joint
    radius     [m] of the link's tube, for inertia, collision and looks
    rotor      [kg m^2] reflected rotor inertia
    friction   [N m] Coulomb; damping [N m s/rad] viscous
    correction by which the frame after the link really lies off these numbers: position [m] and rotation vector [rad]
               (6,) in that frame, from the arm's own calibration (see `dh.calibrated`); empty: none is known
    """

    name: str
    a: float
    d: float
    alpha: float
    lower: float
    upper: float
    speed: float
    torque: float
    mass: float
    com: tuple[float, float, float]
    radius: float
    rotor: float = 0.1
    friction: float = 0.4
    damping: float = 0.8
    correction: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ArmModel:
    """One arm. `base_yaw` [rad] turns the DH base so that base_link's x points forward (REP-103).

    backend  names the driver of a real one, as cell files do
    home     [rad] (dof,) where a run begins: the tool at the dock of the virtual cell's handheld gripper, or as near to
             it as the arm reaches with its elbow well bent
    payload  [kg]; period [s] of the control cycle
    virtual  whether the virtual cell holds one: its scenes are made for these
    """

    name: str
    backend: str
    joints: tuple[Joint, ...]
    base_yaw: float
    home: tuple[float, ...]
    payload: float
    period: float
    virtual: bool = False

    @property
    def dof(self) -> int:
        return len(self.joints)

    def limits(self, field: str) -> Array:
        """One column of the table as (dof,): 'lower', 'upper', 'speed', 'torque', ..."""
        return np.array([getattr(joint, field) for joint in self.joints])


@dataclass(frozen=True, slots=True)
class GripperModel:
    """The parallel gripper, mounted at the flange with its z along the flange's z; jaws move along x.

    tcp        [m] from the flange to the TCP, between the finger tips, along z
    mass       [kg] whole; com [m] its centre along z from the flange; inertia (xx, yy, zz) [kg m^2] about that
    tip        [m] how far the finger tips reach beyond the TCP
    finger_mass [kg] of each of the two
    stroke     [m] full opening; force [N] the most it squeezes; speed [m/s] of the opening
    pad        [m] half sizes of a finger pad: along x (thickness), y (width), z (length)
    stiffness  [N/m] of the jaw's position drive as seen between the pads
    """

    name: str = "kinema_gripper"
    tcp: float = 0.170
    tip: float = 0.008
    mass: float = 0.90
    com: float = 0.065
    inertia: tuple[float, float, float] = (0.0022, 0.0020, 0.0010)
    finger_mass: float = 0.05
    stroke: float = 0.085
    force: float = 60.0
    speed: float = 0.15
    pad: tuple[float, float, float] = (0.005, 0.011, 0.022)
    stiffness: float = 1500.0

    @property
    def T_flange_tcp(self) -> Pose:
        return Pose(np.array([0.0, 0.0, self.tcp]), np.eye(3))

    def clip(self, width: float, speed: float, force: float) -> tuple[float, float, float]:
        """The nearest command that the gripper takes; a width [m] below zero squeezes what is held."""
        return (
            min(max(width, -self.stroke), self.stroke),
            min(max(speed, 1e-3), self.speed),
            min(max(force, 1.0), self.force),
        )

    def asked(self, opening: Array, force: Array) -> Array:
        """What opening [m] to ask for, so that the jaw stands at `opening` [m] and presses by `force` [N], each (n,).

        A jaw that is driven to a position presses by what it is asked to close beyond the object.
        """
        return np.maximum(opening - np.maximum(force, 0.0) / self.stiffness, 0.0)


@dataclass(frozen=True, slots=True)
class Capsule:
    """Collision shape: the segment `start`-`end` (3,) [m] with a radius [m].

    It moves with joint number `link` and is given in that link's frame (see `link_transform`); -1 is base_link, and the
    arm's number of joints is the flange.
    """

    link: int
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float


def _deg(*angles: float) -> tuple[float, ...]:
    return tuple(math.radians(angle) for angle in angles)


def _joints(prefix_names: tuple[str, ...], **columns: tuple) -> tuple[Joint, ...]:
    keys = list(columns)
    return tuple(
        Joint(name, **dict(zip(keys, row, strict=True)))
        for name, *row in zip(prefix_names, *columns.values(), strict=True)
    )


_UR_NAMES = (
    *("shoulder_pan_joint", "shoulder_lift_joint", "elbow_joint"),
    *("wrist_1_joint", "wrist_2_joint", "wrist_3_joint"),
)
# What the two generations of a size have in common.
_UR3_SIZE: dict[str, tuple] = {
    "speed": _deg(180, 180, 180, 360, 360, 360),
    "com": (
        (0.0, -0.02, 0.0),
        (0.13, 0.0, 0.1157),
        (0.05, 0.0, 0.0238),
        (0.0, 0.0, 0.01),
        (0.0, 0.0, 0.01),
        (0.0, 0.0, -0.02),
    ),
    "radius": (0.048, 0.042, 0.036, 0.032, 0.032, 0.032),
    "rotor": (0.05, 0.05, 0.03, 0.012, 0.012, 0.012),
    "friction": (0.4, 0.4, 0.2, 0.1, 0.1, 0.1),
    "damping": (0.5, 0.5, 0.3, 0.15, 0.15, 0.15),
}
_UR5_SIZE: dict[str, tuple] = {
    "speed": _deg(180, 180, 180, 180, 180, 180),
    "com": (
        (0.0, -0.02561, 0.00193),
        (0.2125, 0.0, 0.11336),
        (0.15, 0.0, 0.0265),
        (0.0, -0.0018, 0.01634),
        (0.0, 0.0018, 0.01634),
        (0.0, 0.0, -0.001159),
    ),
    "radius": (0.060, 0.054, 0.044, 0.040, 0.040, 0.036),
    "rotor": (0.10, 0.10, 0.10, 0.03, 0.03, 0.03),
    "friction": (0.8, 0.8, 0.6, 0.2, 0.2, 0.2),
    "damping": (1.0, 1.0, 0.8, 0.3, 0.3, 0.3),
}
_UR10_SIZE: dict[str, tuple] = {
    "speed": _deg(120, 120, 180, 180, 180, 180),
    "com": (
        (0.021, 0.0, 0.027),
        (0.38, 0.0, 0.158),
        (0.24, 0.0, 0.068),
        (0.0, 0.007, 0.018),
        (0.0, 0.007, 0.018),
        (0.0, 0.0, -0.026),
    ),
    "radius": (0.076, 0.066, 0.054, 0.046, 0.046, 0.042),
    "rotor": (0.25, 0.25, 0.10, 0.05, 0.05, 0.05),
    "friction": (1.6, 1.6, 0.8, 0.4, 0.4, 0.4),
    "damping": (2.0, 2.0, 1.0, 0.5, 0.5, 0.5),
}


def _ur(
    name: str,
    size: dict[str, tuple],
    *,
    home: tuple[float, ...],
    payload: float,
    period: float,
    virtual: bool = False,
    **columns: tuple,
) -> ArmModel:
    """A row of the one shape that all of them have."""
    joints = _joints(
        _UR_NAMES,
        alpha=(_HALF, 0.0, 0.0, _HALF, -_HALF, 0.0),
        lower=_deg(-360, -360, -180, -360, -360, -360),
        upper=_deg(360, 360, 180, 360, 360, 360),
        **columns,
        **size,
    )
    return ArmModel(name, "ur", joints, math.pi, home, payload, period, virtual)


_UR5E = _ur(
    "ur5e",
    _UR5_SIZE,
    a=(0.0, -0.425, -0.3922, 0.0, 0.0, 0.0),
    d=(0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996),
    torque=(150.0, 150.0, 150.0, 28.0, 28.0, 28.0),
    mass=(3.761, 8.058, 2.846, 1.37, 1.3, 0.365),
    home=_deg(-19.5, -105.7, 106.0, -90.3, -90, -109.5),
    payload=5.0,
    period=_E_SERIES,
    virtual=True,
)
_UR3E = _ur(
    "ur3e",
    _UR3_SIZE,
    a=(0.0, -0.24355, -0.2132, 0.0, 0.0, 0.0),
    d=(0.15185, 0.0, 0.0, 0.13105, 0.08535, 0.0921),
    torque=(54.0, 54.0, 28.0, 9.0, 9.0, 9.0),
    mass=(1.98, 3.4445, 1.437, 0.871, 0.805, 0.261),
    home=_deg(-24.2, -87.2, 63.1, -65.9, -90, -114.2),
    payload=3.0,
    period=_E_SERIES,
)
_UR10E = _ur(
    "ur10e",
    _UR10_SIZE,
    a=(0.0, -0.6127, -0.57155, 0.0, 0.0, 0.0),
    d=(0.1807, 0.0, 0.0, 0.17415, 0.11985, 0.11655),
    torque=(330.0, 330.0, 150.0, 54.0, 54.0, 54.0),
    mass=(7.369, 13.051, 3.989, 2.1, 1.98, 0.615),
    home=_deg(-25.8, -121.4, 133.2, -101.8, -90, -115.8),
    payload=10.0,  # later ones take 12.5: the label on the arm says so
    period=_E_SERIES,
)
_UR3 = _ur(
    "ur3",
    _UR3_SIZE,
    a=(0.0, -0.24365, -0.21325, 0.0, 0.0, 0.0),
    d=(0.1519, 0.0, 0.0, 0.11235, 0.08535, 0.0819),
    torque=(56.0, 56.0, 28.0, 12.0, 12.0, 12.0),
    mass=(2.0, 3.42, 1.26, 0.8, 0.8, 0.35),
    home=_deg(-20.6, -86.4, 65.3, -68.9, -90, -110.6),
    payload=3.0,
    period=_CB3,
)
_UR5 = _ur(
    "ur5",
    _UR5_SIZE,
    a=(0.0, -0.425, -0.39225, 0.0, 0.0, 0.0),
    d=(0.089159, 0.0, 0.0, 0.10915, 0.09465, 0.0823),
    torque=(150.0, 150.0, 150.0, 28.0, 28.0, 28.0),
    mass=(3.7, 8.393, 2.33, 1.219, 1.219, 0.1879),
    home=_deg(-15.8, -103.5, 96.2, -82.7, -90, -105.8),
    payload=5.0,
    period=_CB3,
)
_UR10 = _ur(
    "ur10",
    _UR10_SIZE,
    a=(0.0, -0.612, -0.5723, 0.0, 0.0, 0.0),
    d=(0.1273, 0.0, 0.0, 0.163941, 0.1157, 0.0922),
    torque=(330.0, 330.0, 150.0, 56.0, 56.0, 56.0),
    mass=(7.1, 12.7, 4.27, 2.0, 2.0, 0.365),
    home=_deg(-24.2, -121.1, 130.1, -99.0, -90, -114.2),
    payload=10.0,
    period=_CB3,
)

_XARM7 = ArmModel(
    name="xarm7",
    backend="xarm",
    joints=_joints(
        tuple(f"joint{i}" for i in range(1, 8)),
        a=(0.0, 0.0, 0.0525, 0.0775, 0.0, 0.076, 0.0),
        d=(0.267, 0.0, 0.293, 0.0, 0.3425, 0.0, 0.097),
        alpha=(-_HALF, _HALF, _HALF, _HALF, _HALF, -_HALF, 0.0),
        lower=_deg(-360, -118, -360, -11, -360, -97, -360),
        upper=_deg(360, 120, 360, 225, 360, 180, 360),
        speed=_deg(180, 180, 180, 180, 180, 180, 180),
        torque=(50.0, 50.0, 30.0, 30.0, 30.0, 20.0, 20.0),
        mass=(2.382, 1.869, 1.6383, 1.7269, 1.3203, 1.325, 0.17),
        com=(
            (0.0, 0.02, -0.03),
            (0.0, -0.03, 0.02),
            (-0.02, 0.02, -0.03),
            (-0.03, -0.03, 0.02),
            (0.0, 0.02, -0.06),
            (-0.03, -0.02, 0.0),
            (0.0, 0.0, -0.02),
        ),
        radius=(0.055, 0.052, 0.050, 0.048, 0.045, 0.042, 0.035),
        rotor=(0.08, 0.08, 0.05, 0.05, 0.05, 0.03, 0.03),
        friction=(0.6, 0.6, 0.4, 0.4, 0.2, 0.2, 0.2),
        damping=(0.8, 0.8, 0.5, 0.5, 0.3, 0.3, 0.3),
    ),
    base_yaw=0.0,
    home=_deg(0, -15.4, 0, 62.4, 0, 77.8, 0),
    payload=3.5,
    period=0.004,
    virtual=True,
)

ARMS: dict[str, ArmModel] = {arm.name: arm for arm in (_UR5E, _XARM7, _UR3E, _UR10E, _UR3, _UR5, _UR10)}
VIRTUAL_ROBOTS = tuple(f"virtual_{arm.name}" for arm in ARMS.values() if arm.virtual)
GRIPPER = GripperModel()


def arm(name: str) -> ArmModel:
    """The row of one arm, by 'ur5e' or by 'virtual_ur5e'; raises ConfigError naming the arms there are."""
    row = ARMS.get(name.removeprefix("virtual_"))
    if row is None:
        raise ConfigError(f"robot {name!r} is not in the table; allowed: {', '.join((*ARMS, *VIRTUAL_ROBOTS))}")
    if name not in (row.name, *VIRTUAL_ROBOTS):
        raise ConfigError(f"robot {name!r}: the virtual cell has no {row.name}; allowed: {', '.join(VIRTUAL_ROBOTS)}")
    return row


def dh_transform(joint: Joint, q: float) -> Pose:
    """The DH transform of one joint at angle q [rad]: from the frame before it to the frame after it."""
    cq, sq, ca, sa = math.cos(q), math.sin(q), math.cos(joint.alpha), math.sin(joint.alpha)
    rotation = np.array([[cq, -sq * ca, sq * sa], [sq, cq * ca, -cq * sa], [0.0, sa, ca]])
    T = Pose(np.array([joint.a * cq, joint.a * sq, joint.d]), rotation)
    return T @ Pose.from_rotvec(joint.correction[:3], joint.correction[3:]) if joint.correction else T


def link_transform(joint: Joint) -> Pose:
    """From a link's frame (the DH frame before its joint, turned by the joint) to the DH frame after it."""
    return dh_transform(joint, 0.0)


def link_com(joint: Joint) -> Array:
    """Centre of mass (3,) [m] in the link's frame."""
    return link_transform(joint).apply(joint.com)


def link_inertia(joint: Joint) -> Array:
    """Inertia (3, 3) [kg m^2] about the centre of mass in the link's axes: a solid cylinder along the link."""
    along = np.array([joint.a, 0.0, joint.d])
    length = max(float(np.linalg.norm(along)), 2 * joint.radius)
    axis = along / np.linalg.norm(along) if np.any(along) else np.array([0.0, 0.0, 1.0])
    across = joint.mass * (3 * joint.radius**2 + length**2) / 12
    lengthwise = joint.mass * joint.radius**2 / 2
    return across * np.eye(3) + (lengthwise - across) * np.outer(axis, axis)


def capsules(model: ArmModel, gripper: GripperModel = GRIPPER) -> tuple[Capsule, ...]:
    """The arm with its gripper as capsules: base, links, hand, fingers at full opening."""
    found = [Capsule(-1, (0.0, 0.0, 0.03), (0.0, 0.0, 0.07), model.joints[0].radius * 1.25)]
    for i, joint in enumerate(model.joints):
        aside = float(link_com(joint)[2]) if joint.d == 0.0 else 0.0  # long links lie beside their joint's plane
        start, end = (0.0, 0.0, aside), (joint.a, 0.0, joint.d + aside)
        if i == 0:
            start = (0.0, 0.0, 0.6 * joint.d)
        found.append(Capsule(i, start, end, joint.radius))
        if abs(aside) > joint.radius:  # what carries it across, at either end
            found += [Capsule(i, (x, 0.0, 0.0), (x, 0.0, aside), joint.radius) for x in (0.0, joint.a)]
    hand, finger = 0.034, 0.011
    reach, spread = gripper.tcp + gripper.tip - finger, gripper.stroke / 2 + finger
    found.append(Capsule(model.dof, (-0.045, 0.0, 0.045), (0.045, 0.0, 0.045), hand))
    found += [Capsule(model.dof, (s * spread, 0.0, 0.08), (s * spread, 0.0, reach), finger) for s in (-1, 1)]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the gripper: `centre` and `half` sizes (3,) [m] in the flange's axes; `side` 0 hand, -1, 1 finger."""

    side: int
    centre: tuple[float, float, float]
    half: tuple[float, float, float]


def boxes(gripper: GripperModel, width: float) -> tuple[Box, ...]:
    """The gripper's shape at an opening [m]: hand, then bar and pad of the finger at the TCP's -x, and at +x."""
    pad_z = gripper.tcp + gripper.tip - gripper.pad[2]
    top, shoulder = 0.080, pad_z - gripper.pad[2] - 0.002
    found = [Box(0, (0.0, 0.0, 0.048), (0.060, 0.030, 0.027))]
    for side in (-1, 1):
        bar, pad = (side * (width / 2 + inwards) for inwards in (0.0125, gripper.pad[0]))
        found.append(Box(side, (bar, 0.0, (top + shoulder) / 2), (0.0115, gripper.pad[1], (shoulder - top) / 2)))
        found.append(Box(side, (pad, 0.0, pad_z), gripper.pad))
    return tuple(found)


def forward_kinematics(model: ArmModel, q: Array) -> Pose:
    """`T_base_flange` at joint positions q (dof,) [rad], from the table: the reference for other models."""
    T = Pose.from_rotvec(np.zeros(3), [0.0, 0.0, model.base_yaw])
    for joint, angle in zip(model.joints, q, strict=True):
        T = T @ dh_transform(joint, float(angle))
    return T


def gravity_torque(model: ArmModel, q: Array, payload: float, cog: Array) -> Array:
    """Joint torques (dof,) [N m] that carry arm and payload [kg], its centre (3,) [m] from the flange, at rest."""
    T = Pose.identity()
    axes, origins, centres, masses = [], [], [], [*model.limits("mass"), payload]
    for joint, angle in zip(model.joints, q, strict=True):
        axes.append(T.rotation[:, 2])
        origins.append(T.position)
        after = T @ dh_transform(joint, float(angle))
        centres.append(after.apply(joint.com))
        T = after
    centres.append(T.apply(cog))
    arms = np.array(centres)[None, :, :] - np.array(origins)[:, None, :]  # (joint, mass, 3)
    rises = np.cross(np.array(axes)[:, None, :], arms)[:, :, 2]  # [m/rad] of each mass by each joint
    carried = np.triu(np.ones(rises.shape))  # a joint carries its own link and what comes after
    return _GRAVITY * (rises * carried) @ np.array(masses)
