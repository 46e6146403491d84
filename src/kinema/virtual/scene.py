"""The virtual cell as a MuJoCo model: a scenario, an arm or the handheld gripper, cameras, looks.

The MJCF is made as text from the tables (`kinema.robots`, `objects`, `cameras`). The world's frame is base_link with
the table's top at z = 0. Contacts use elliptic friction cones and nothing holds an object but friction: there is no
weld and no adhesion in the robot's cell. The handheld gripper follows a hand: a soft weld to a mocap body.
"""

import functools
import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence

import cv2
import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from kinema import robots
from kinema.calibration.boards import DEFAULT as BOARD
from kinema.errors import ConfigError
from kinema.geometry import Array, Pose
from kinema.robots import ArmModel, GripperModel
from kinema.virtual import cameras, catalogue, held, objects
from kinema.virtual.board_view import BORDER, T_TCP_BOARD, board_on_the_table, print_of
from kinema.virtual.held import Held
from kinema.virtual.objects import Background, ObjectKind, Rgb, Shape
from kinema.virtual.scenario import Placed, Scenario

TIMESTEP = 0.002  # [s]
FINGERS = ("finger_left", "finger_right")  # at the TCP's -x and +x
JAW = "jaw"  # name of tendon, actuator and drive
HAND_TARGET = "hand_target"  # mocap body of the handheld gripper

_ENVIRONMENT = {"contype": "1", "conaffinity": "1", "solref": "0.006 1"}  # stiff: floors of containers are thin
_ROBOT = {"contype": "2", "conaffinity": "3"}  # meets the environment and itself
_LOOKS = {"contype": "0", "conaffinity": "0", "mass": "0", "group": "1"}
_HIDDEN = {"group": "3"}
_FRICTION = "0.8 0.005 0.0005"
_FIRM = {"priority": "2", "friction": "1.0 0.02 0.001", "solref": "0.004 1"}
_HAND = (0.5, 0.010)  # [kg, kg m^2] that hand and forearm add to the gripper
_HAND_WELD = 0.045  # [s] time constant; yields by about 1.3 kN/m and 3 N m/rad, an arm held firmly
# Pads are of soft rubber, with a contact time constant [s]; a touch of the table then meets some 0.1 MN/m.
_RUBBER = {
    "condim": "4",
    "friction": "1.1 0.02 0.0005",
    "priority": "1",
    "solref": "0.02 1",
    "solimp": "0.95 0.99 0.001",
}
_SOFT = 0.003  # [m] that a closed finger can still go, so that the pads carry the force and not the stops
_FINGER_INERTIA = 0.05  # [kg] of the jaw's motor, reflected to one finger
_PRINT = 96  # [px] of a calibration board's picture, a square's edge
_PLATE = 0.004  # [m] half of what a calibration board is thick
_JAW_DAMPING = 2 * math.sqrt(1500.0 * 0.05)  # [N s/m] critical for the drive


# ---- XML


def _text(values: object) -> str:
    return " ".join(f"{value:.9g}" for value in np.ravel(np.asarray(values, float)))


def _wxyz(rotation: Array) -> str:
    return _text(np.roll(Rotation.from_matrix(rotation).as_quat(canonical=True), 1))


def _add(parent: ET.Element, tag: str, **attributes: object) -> ET.Element:
    values = {
        key.rstrip("_"): value if isinstance(value, str) else _text(value)
        for key, value in attributes.items()
        if value is not None
    }
    return ET.SubElement(parent, tag, values)


def _rgba(rgb: Sequence[float] | Array) -> str:
    return _text((*np.clip(rgb, 0, 1), 1.0))


def _body(parent: ET.Element, name: str, T: Pose, **attributes: str) -> ET.Element:
    return _add(parent, "body", name=name, pos=T.position, quat=_wxyz(T.rotation), **attributes)


def _rod(parent: ET.Element, start: object, end: object, radius: float, type_: str, **attributes: object) -> ET.Element:
    if np.allclose(start, end):  # type: ignore[arg-type]
        return _add(parent, "geom", type="sphere", pos=start, size=radius, **attributes)
    return _add(parent, "geom", type=type_, fromto=np.r_[start, end], size=radius, **attributes)


# ---- things


def _lathe(profile: Iterable[tuple[float, float]], segments: int = 28) -> tuple[Array, Array]:
    """Vertices (n, 3) and triangles (m, 3) of a closed surface of revolution about z, wound outwards."""
    points = np.array(list(profile))
    closed = np.vstack([points, points[:1]]) if np.any(points[[0, -1], 0] > 0) else points
    angles = np.arange(segments) * 2 * math.pi / segments
    vertices = np.stack(
        [
            np.outer(closed[:, 0], np.cos(angles)),
            np.outer(closed[:, 0], np.sin(angles)),
            np.repeat(closed[:, 1:], segments, axis=1),
        ],
        axis=-1,
    ).reshape(-1, 3)
    triangles = []
    for ring in range(len(closed) - 1):
        for k in range(segments):
            a, b = ring * segments + k, ring * segments + (k + 1) % segments
            c, d = a + segments, b + segments
            if closed[ring, 0] > 0:
                triangles.append((a, b, c))
            if closed[ring + 1, 0] > 0:
                triangles.append((b, d, c))
    return vertices, np.array(triangles)


def _shape(root: ET.Element, body: ET.Element, shape: Shape, name: str, colours: dict[str, Rgb], **solid: str) -> None:
    colour = colours[shape.colour] if isinstance(shape.colour, str) else shape.colour
    attributes: dict[str, object] = {"pos": shape.position, "rgba": _rgba(colour)}
    if any(shape.rotvec):
        attributes["quat"] = _wxyz(Rotation.from_rotvec(shape.rotvec).as_matrix())
    if shape.type == "lathe":
        vertices, triangles = _lathe(shape.profile)
        asset = root.find("asset")
        assert asset is not None
        _add(asset, "mesh", name=name, vertex=vertices, face=" ".join(map(str, triangles.ravel())), inertia="shell")
        # A mesh is stored about its own centre; MuJoCo moves the geom back, so the body's frame stays.
        _add(body, "geom", type="mesh", mesh=name, **attributes, **_LOOKS)
        return
    attributes |= {"type": shape.type, "size": shape.size}
    if not shape.solid:
        _add(body, "geom", **attributes, **_LOOKS)
    else:
        _add(body, "geom", **attributes, **solid, **({} if shape.visible else _HIDDEN))


def _thing(
    root: ET.Element, world: ET.Element, placed: Placed, shapes: Sequence[Shape], mass: float, rolls: bool, firm: bool
) -> None:
    """A free body standing on the table, of even density over its solid shapes."""
    T = Pose.from_rotvec([*placed.position, placed.height + 0.0005], [0.0, 0.0, placed.yaw])
    if placed.tilt:
        T = T @ Pose.from_rotvec(np.zeros(3), [0.0, placed.tilt, 0.0])
    body = _body(world, placed.name, T)
    _add(body, "freejoint", name=placed.name)
    density = mass / sum(shape.volume for shape in shapes if shape.solid)
    solid = {"density": _text(density), "friction": _FRICTION, "condim": "4"} | _ENVIRONMENT
    if rolls:
        solid |= {"condim": "6", "friction": "0.8 0.005 0.001"}
    if firm:
        solid |= _FIRM
    colours = {"main": placed.colour, "accent": placed.accent}
    for i, shape in enumerate(shapes):
        _shape(root, body, shape, f"{placed.name}_{i}", colours, **solid)


def _picture(asset: ET.Element, name: str, shine: str) -> None:
    """A material with the picture of that name, of `assets`."""
    _add(asset, "texture", name=name, type="2d", file=f"{name}.png")
    _add(asset, "material", name=name, texture=name, specular=shine, shininess="0.3")


def _cabinet(root: ET.Element, world: ET.Element, placed: Placed) -> None:
    kind = objects.CABINETS[placed.kind]
    depth, width, height = kind.size
    wall, colours = 0.012, {"main": placed.colour, "accent": placed.accent}
    shade = _rgba(np.array(placed.colour) * 0.6)
    chest = _body(world, placed.name, Pose.from_rotvec([*placed.position, 0.0], [0.0, 0.0, placed.yaw]))
    boards = [((depth / 2, wall / 2, height / 2), (depth / 2, s * (width - wall) / 2, height / 2)) for s in (-1.0, 1.0)]
    levels = sorted(kind.drawers.values())
    middle = (levels[0] + levels[1]) / 2
    shelves = (2 * levels[0] - middle, middle, height - wall / 2)
    boards += [((depth / 2, width / 2, wall / 2), (depth / 2, 0.0, float(z))) for z in shelves]
    boards.append(((wall / 2, width / 2, height / 2), (depth - wall / 2, 0.0, height / 2)))
    boards.append(((wall / 2, width / 2, shelves[0] / 2), (0.02 - kind.step, 0.0, shelves[0] / 2)))  # plinth
    boards += [
        ((kind.step / 2, wall / 2, middle / 2), (-kind.step / 2, s * (width - wall) / 2, middle / 2))
        for s in (-1.0, 1.0)
    ]
    boards += [((kind.step / 2, width / 2, wall / 2), (-kind.step / 2, 0.0, float(z))) for z in shelves[:2]]
    for size, position in boards:
        _add(chest, "geom", type="box", size=size, pos=position, rgba=shade, friction=_FRICTION, **_ENVIRONMENT)
    inner, deep, tall = width / 2 - wall - 0.004, depth - 2 * wall, (shelves[1] - shelves[0] - wall) / 2 - 0.004
    for name, z in kind.drawers.items():
        out = kind.step if z == levels[0] else 0.0
        drawer = _add(chest, "body", name=f"drawer_{name}", pos=(-out, 0.0, z))
        _add(
            drawer, "joint", name=f"drawer_{name}", type="slide", axis="-1 0 0", range=(0.0, kind.travel),
            frictionloss=kind.friction, damping=6.0, armature=0.05, solreflimit="0.01 1",
        )  # fmt: skip
        panels = [
            ((kind.front / 2, width / 2, tall + wall / 2), (-kind.front / 2, 0.0, 0.0), _rgba(placed.colour)),
            ((deep / 2, inner, 0.003), (deep / 2, 0.0, -tall + 0.003), "0.80 0.72 0.60 1"),
            ((0.004, inner, 0.6 * tall), (deep - 0.004, 0.0, -0.4 * tall), "0.80 0.72 0.60 1"),
            *(
                ((deep / 2, 0.004, 0.6 * tall), (deep / 2, s * (inner - 0.004), -0.4 * tall), "0.80 0.72 0.60 1")
                for s in (-1.0, 1.0)
            ),
        ]
        for size, position, rgba in panels:
            _add(
                drawer, "geom", type="box", size=size, pos=position, rgba=rgba, density="450", friction=_FRICTION,
                **_ENVIRONMENT,
            )  # fmt: skip
        handle = _add(drawer, "body", name=f"handle_{name}", pos=(-kind.front - kind.gap, 0.0, 0.0))
        for i, shape in enumerate(kind.handle):
            solid = {"density": "900", "friction": _FRICTION, "condim": "4"} | _ENVIRONMENT
            _shape(root, handle, shape, f"handle_{name}_{i}", colours, **solid)
        contact = root.find("contact")
        assert contact is not None
        _add(contact, "exclude", body1=placed.name, body2=f"drawer_{name}")
    names = [f"drawer_{name}" for name in kind.drawers]
    _add(root.find("contact"), "exclude", body1=names[0], body2=names[1])  # type: ignore[arg-type]


# ---- robot


def _arm(root: ET.Element, world: ET.Element, model: ArmModel, payload_error: float) -> None:
    contact, actuators = root.find("contact"), root.find("actuator")
    assert contact is not None and actuators is not None
    shapes = robots.capsules(model)
    tube, cap = _ARM_LOOKS[model.name]
    base = _body(world, "base_link", Pose.identity())
    _rod(base, (0, 0, 0.001), (0, 0, 0.012), model.joints[0].radius * 1.5, "cylinder", rgba=_rgba(cap), **_LOOKS)
    top = 0.6 * model.joints[0].d
    _rod(base, (0, 0, 0), (0, 0, top), model.joints[0].radius * 1.2, "cylinder", rgba=_rgba(tube), **_ROBOT)
    parent, T = base, Pose.from_rotvec(np.zeros(3), [0.0, 0.0, model.base_yaw])
    for i, joint in enumerate(model.joints):
        link = _body(parent, f"link{i + 1}", T)
        _add(
            link, "joint", name=joint.name, type="hinge", axis="0 0 1", range=(joint.lower, joint.upper),
            armature=joint.rotor, frictionloss=joint.friction, damping=joint.damping,
        )  # fmt: skip
        inertia = robots.link_inertia(joint)
        terms = (inertia[0, 0], inertia[1, 1], inertia[2, 2], inertia[0, 1], inertia[0, 2], inertia[1, 2])
        _add(link, "inertial", pos=robots.link_com(joint), mass=joint.mass, fullinertia=terms)
        for capsule in shapes:
            if capsule.link == i:
                _rod(link, capsule.start, capsule.end, capsule.radius, "capsule", rgba=_rgba(tube), **_ROBOT)
        _knuckles(link, joint, next(c for c in shapes if c.link == i), tube, cap)
        _add(actuators, "motor", name=joint.name, joint=joint.name, ctrlrange=(-joint.torque, joint.torque))
        parent, T = link, robots.link_transform(joint)
    flange = _body(parent, "flange", T)
    _gripper(root, flange, robots.GRIPPER, payload_error)
    links = ["base_link", *(f"link{i + 1}" for i in range(model.dof)), "flange", *FINGERS]
    last = model.dof + 1
    for a in range(len(links)):
        for b in range(a + 1, len(links)):
            if min(b, last) - min(a, last) <= 2 and a <= last:  # neighbours overlap by design; the fingers do meet
                _add(contact, "exclude", body1=links[a], body2=links[b])
    _add(contact, "exclude", body1="world", body2="link1")


_ARM_LOOKS: dict[str, tuple[Rgb, Rgb]] = {
    "ur5e": ((0.80, 0.82, 0.84), (0.30, 0.50, 0.68)),
    "xarm7": ((0.94, 0.94, 0.94), (0.24, 0.25, 0.27)),
}


def _knuckles(link: ET.Element, joint: robots.Joint, capsule: robots.Capsule, tube: Rgb, cap: Rgb) -> None:
    """Looks of a link's joints: a hub at its start and, where the link runs beside its joints, one at its end."""
    r, aside = capsule.radius * 1.06, capsule.end[2] - joint.d
    ends = (-r, aside + r) if aside >= 0 else (aside - r, r)
    _rod(link, (0, 0, ends[0]), (0, 0, ends[1]), r, "cylinder", rgba=_rgba(tube), **_LOOKS)
    for z, outwards in zip(ends, (-1, 1), strict=True):
        _rod(link, (0, 0, z), (0, 0, z + outwards * 0.006), r * 0.92, "cylinder", rgba=_rgba(cap), **_LOOKS)
    if aside:
        low, high = min(0.0, aside) - r * 0.8, max(0.0, aside) + r * 0.95
        _rod(link, (joint.a, 0, low), (joint.a, 0, high), r * 0.92, "cylinder", rgba=_rgba(tube), **_LOOKS)
        _rod(link, (joint.a, 0, high), (joint.a, 0, high + 0.005), r * 0.85, "cylinder", rgba=_rgba(cap), **_LOOKS)


def _gripper(root: ET.Element, flange: ET.Element, gripper: GripperModel, payload_error: float) -> None:
    """Hand, two fingers on slides, pads, tags, camera, sensors. The whole weighs the table's mass times 1 + error."""
    scale = 1.0 + payload_error
    tip = gripper.tcp + gripper.tip
    fingers = 2 * gripper.finger_mass
    hand = gripper.mass - fingers
    finger_com = tip - 0.045
    com = (gripper.mass * gripper.com - fingers * finger_com) / hand
    half_open = gripper.stroke / 4 + 0.010
    shift = hand * (com - gripper.com) ** 2 + fingers * (finger_com - gripper.com) ** 2
    spread = fingers * half_open**2
    own = np.array(gripper.inertia) - (shift, shift + spread, spread)
    _add(flange, "inertial", pos=(0, 0, com), mass=hand * scale, diaginertia=np.maximum(own, 2e-4) * scale)
    for name, at in (("flange", 0.0), ("gripper_com", gripper.com), ("tcp", gripper.tcp)):
        _add(flange, "site", name=name, pos=(0, 0, at), size="0.002", group="4")

    body, steel, rubber = (0.17, 0.18, 0.20), (0.62, 0.63, 0.65), (0.08, 0.08, 0.09)
    _rod(flange, (0, 0, 0), (0, 0, 0.022), 0.036, "cylinder", rgba=_rgba(steel), **_ROBOT)
    hand_box, *finger_boxes = robots.boxes(gripper, 0.0)
    _add(flange, "geom", type="box", pos=hand_box.centre, size=hand_box.half, rgba=_rgba(body), **_ROBOT)
    _add(flange, "geom", type="box", pos=(0, 0, 0.0765), size=(0.066, 0.012, 0.0035), rgba=_rgba(steel), **_LOOKS)
    _camera_body(flange, gripper)

    for side, name, tag in zip((-1, 1), FINGERS, cameras.TAGS, strict=True):
        finger = _add(flange, "body", name=name, pos=(0, 0, 0))
        _add(
            finger, "joint", name=name, type="slide", axis=(side, 0, 0), range=(-_SOFT, gripper.stroke / 2),
            armature=_FINGER_INERTIA, damping=1.0, solreflimit="0.006 1",
        )  # fmt: skip
        _add(
            finger, "inertial", pos=(side * 0.010, 0, finger_com), mass=gripper.finger_mass * scale,
            diaginertia="5e-5 5e-5 2e-5",
        )  # fmt: skip
        bar, pad = (box for box in finger_boxes if box.side == side)
        _add(finger, "geom", type="box", pos=bar.centre, size=bar.half, rgba=_rgba(steel), **_ROBOT)
        _add(
            finger, "geom", name=f"pad_{name}", type="box", pos=pad.centre, size=pad.half,
            rgba=_rgba(rubber), **_RUBBER, **_ROBOT,
        )  # fmt: skip
        _add(
            finger, "site", name=f"load_cell_{name}", type="box", pos=pad.centre, size=np.add(pad.half, 0.002),
            group="4",
        )  # fmt: skip
        _tag(finger, gripper, tag)

    tendon, actuators, equality = root.find("tendon"), root.find("actuator"), root.find("equality")
    assert tendon is not None and actuators is not None and equality is not None
    jaw = _add(tendon, "fixed", name=JAW)
    for name in FINGERS:
        _add(jaw, "joint", joint=name, coef="1")
    _add(
        actuators, "position", name=JAW, tendon=JAW, kp=gripper.stiffness, kv=_JAW_DAMPING,
        forcerange=(-gripper.force, gripper.force), ctrlrange=(-gripper.stroke, gripper.stroke),
    )  # fmt: skip
    _add(equality, "joint", joint1=FINGERS[0], joint2=FINGERS[1], solref="0.004 1")
    sensors = root.find("sensor")
    assert sensors is not None
    _add(sensors, "touch", name="load_cell", site=f"load_cell_{FINGERS[1]}")
    _add(sensors, "force", name="flange_force", site="flange")
    _add(sensors, "torque", name="flange_torque", site="flange")
    _add(sensors, "accelerometer", name="gripper_acceleration", site="gripper_com")
    _add(sensors, "gyro", name="gripper_rate", site="gripper_com")
    _add(sensors, "frameangacc", name="gripper_spin", objtype="site", objname="gripper_com")


def _held(root: ET.Element, flange: ET.Element, held: Held, weightless: bool) -> None:
    """A tool bolted to the gripper, its shaft between the fingers; it meets what the gripper meets."""
    tool = _body(flange, "tool", robots.GRIPPER.T_flange_tcp, **({"gravcomp": "1"} if weightless else {}))
    shapes = [shape for part in held.parts.values() for shape in part]
    density = held.mass / sum(shape.volume for shape in shapes)
    for i, shape in enumerate(shapes):
        solid = {"density": _text(density), "friction": _FRICTION, "condim": "4"} | _ROBOT
        if held.sleeved:
            solid |= _RUBBER
        _shape(root, tool, shape, f"tool_{i}", {}, **solid)


def _star(root: ET.Element, world: ET.Element, mark: Placed) -> None:
    """A star of five points, painted on the table."""
    asset = root.find("asset")
    assert asset is not None
    angles = np.arange(10) * math.pi / 5
    radii = np.where(np.arange(10) % 2, 0.011, 0.028)
    rim = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    vertices = np.vstack([np.c_[rim, np.zeros(10)], np.c_[rim, np.full(10, 0.0008)], [[0, 0, 0], [0, 0, 0.0008]]])
    faces = []
    for i in range(10):
        j = (i + 1) % 10
        faces += [(i, j, 10 + j), (i, 10 + j, 10 + i), (20, j, i), (21, 10 + i, 10 + j)]
    text = " ".join(map(str, np.ravel(faces)))
    _add(asset, "mesh", name=mark.name, vertex=vertices, face=text, inertia="shell")
    turn = Pose.from_rotvec([*mark.position, 0.0], [0.0, 0.0, mark.yaw])
    body = _body(world, mark.name, turn)
    _add(body, "geom", type="mesh", mesh=mark.name, rgba=_rgba(mark.colour), **_LOOKS)


def _board(root: ET.Element, parent: ET.Element, T: Pose) -> None:
    """The default calibration board, glued to a plate; `T` is where its squares begin."""
    asset = root.find("asset")
    assert asset is not None
    _picture(asset, "board", "0")
    width, height = BOARD.size
    half = np.array([width / 2, height / 2, _PLATE]) + BORDER * BOARD.square * np.array([1.0, 1.0, 0.0])
    middle = T @ Pose(np.array([width / 2, height / 2, _PLATE]), np.diag([1.0, -1.0, -1.0]))  # its print looks up
    _add(
        parent, "geom", name="board", type="box", pos=middle.position, quat=_wxyz(middle.rotation), size=half,
        material="board", **_LOOKS,
    )  # fmt: skip


def _tag(finger: ET.Element, gripper: GripperModel, tag: cameras.FingerTag) -> None:
    """The plate with its tag on a bracket; the texture covers the plate's face."""
    T = gripper.T_flange_tcp @ tag.T_tcp_tag(0.0)
    thick, half = 0.0008, tag.plate / 2
    face = T @ Pose(np.array([0.0, 0.0, -thick]), np.eye(3))
    _add(
        finger, "geom", name=tag.name, type="box", pos=face.position, quat=_wxyz(face.rotation),
        size=(half, half, thick), material=tag.name, **_LOOKS,
    )  # fmt: skip
    back = T.apply((0.0, 0.0, -0.005))
    _rod(finger, back, (back[0], 0.0, back[2] + 0.004), 0.003, "capsule", rgba="0.3 0.31 0.33 1", **_LOOKS)


def _camera_body(flange: ET.Element, gripper: GripperModel) -> None:
    """Housing and bracket behind the gripper camera's lens."""
    T = gripper.T_flange_tcp @ cameras.CAMERAS["gripper"].T_mount_camera
    dark = _rgba((0.10, 0.10, 0.11))
    _rod(flange, T.apply((0, 0, -0.022)), T.apply((0, 0, -0.004)), 0.013, "cylinder", rgba=dark, **_LOOKS)
    housing = T @ Pose(np.array([0.0, 0.0, -0.036]), np.eye(3))
    _add(
        flange, "geom", type="box", pos=housing.position, quat=_wxyz(housing.rotation), size="0.0145 0.0145 0.0145",
        rgba=_rgba((0.24, 0.25, 0.27)), **_ROBOT,
    )  # fmt: skip
    _rod(flange, (0, -0.028, 0.03), housing.position, 0.006, "capsule", rgba=dark, **_LOOKS)


def _handheld(root: ET.Element, world: ET.Element) -> None:
    """The gripper on a free body that a soft weld draws to the mocap body, as a hand does, bearing its weight."""
    gripper = robots.GRIPPER
    T = Pose(np.array([0.40, 0.0, 0.30]), np.diag([1.0, -1.0, -1.0])) @ gripper.T_flange_tcp.inverse()
    _body(world, HAND_TARGET, T, mocap="true")
    flange = _body(world, "flange", T, gravcomp="1")
    _add(flange, "freejoint", name="hand")
    _gripper(root, flange, gripper, 0.0)
    hand = _add(flange, "body", name="hand")
    _add(hand, "inertial", pos=(0, 0, gripper.com), mass=_HAND[0], diaginertia=(_HAND[1],) * 3)
    for part in flange.findall("body"):
        part.set("gravcomp", "1")
    grip = _rgba((0.13, 0.14, 0.16))
    _rod(flange, (0, 0, -0.02), (0, 0, 0.0), 0.022, "cylinder", rgba=grip, **_LOOKS)
    _rod(flange, (0, 0, -0.13), (0, 0, -0.02), 0.017, "capsule", rgba=grip, **_LOOKS)
    _add(
        flange, "geom", type="box", pos=(0, 0.055, 0.02), size=(0.054, 0.0065, 0.012),
        rgba=_rgba((0.72, 0.73, 0.75)), **_LOOKS,
    )  # fmt: skip
    equality = root.find("equality")
    assert equality is not None
    _add(
        equality, "weld", body1=HAND_TARGET, body2="flange", anchor=(0, 0, gripper.com),
        relpose=(0, 0, gripper.com, 1, 0, 0, 0),
        solref=(_HAND_WELD, 1.0), solimp="0.5 0.5 0.001", torquescale="1.0",
    )  # fmt: skip


# ---- surroundings


def _surroundings(world: ET.Element, background: Background) -> None:
    light = np.array(background.light)
    down = np.array([0.42, 0.0, 0.0]) - light
    tint = np.array([1.0 + background.warmth, 1.0, 1.0 - background.warmth])
    lamp = tint * background.brightness
    _add(world, "light", name="lamp", pos=light, dir=down, directional="true", diffuse=lamp, specular=0.25 * lamp)
    fill = 0.30 * background.brightness * (2 - tint)
    _add(
        world, "light", name="window", pos=(-1.0, -light[1], 1.2), dir=(1.2, light[1], -1.0), directional="true",
        castshadow="false", diffuse=fill, specular=0.1 * fill,
    )  # fmt: skip
    _add(
        world, "geom", name="table", type="box", pos=(0.40, 0.0, -0.02), size="0.60 0.75 0.02", material="table",
        friction=_FRICTION, **_ENVIRONMENT,
    )  # fmt: skip
    edge = _rgba(np.array(background.table) * 0.55 + 0.06)
    _add(world, "geom", type="box", pos=(0.40, 0.0, -0.045), size="0.585 0.735 0.006", rgba=edge, **_LOOKS)
    for x in (-0.14, 0.94):
        for y in (-0.69, 0.69):
            _rod(world, (x, y, -0.74), (x, y, -0.04), 0.025, "cylinder", rgba="0.33 0.34 0.36 1", **_LOOKS)


def _room(world: ET.Element, background: Background) -> None:
    """Floor and walls, drawn last: what the table hides then costs nothing."""
    room = _add(world, "body", name="room")
    floor = _rgba(background.floor)
    _add(room, "geom", name="floor", type="plane", pos=(0, 0, -0.74), size="4 4 0.1", rgba=floor, **_ENVIRONMENT)
    wall = np.array(background.wall)
    skirting = _rgba(wall * 0.45)
    panels: tuple[tuple[object, object, float], ...] = (
        ((1.75, 0.0, 0.4), (0.02, 2.2, 1.15), 1.0),
        ((0.3, 2.0, 0.4), (1.5, 0.02, 1.15), 0.93),
        ((0.3, -2.0, 0.4), (1.5, 0.02, 1.15), 0.93),
    )
    for pos, size, tone in panels:
        _add(room, "geom", type="box", pos=pos, size=size, material="wall", rgba=_rgba(wall * tone), **_LOOKS)
    _add(room, "geom", type="box", pos=(1.72, 0.0, -0.70), size=(0.015, 2.2, 0.04), rgba=skirting, **_LOOKS)


def _texture(pattern: str, rgb: Rgb, size: int = 512) -> np.ndarray:
    """A seeded RGB picture (size, size, 3) of plain lacquer, wood or woven cloth around a colour."""
    rng = np.random.default_rng(7)
    fine = rng.normal(0.0, 1.0, (size, size))
    if pattern == "wood":
        rows = np.linspace(0, 1, size)[:, None] + 0.012 * cv2.GaussianBlur(fine, (0, 0), 24) * 24
        grain = np.sin(2 * math.pi * 34 * rows) * 0.4 + cv2.GaussianBlur(fine, (0, 0), sigmaX=18, sigmaY=0.8) * 4
        shade = 1.0 + 0.035 * grain
    elif pattern == "cloth":
        i, j = np.indices((size, size))
        shade = 1.0 + 0.05 * np.sin(i * math.pi / 2) * np.sin(j * math.pi / 2) + 0.03 * fine
    else:
        shade = 1.0 + 0.010 * fine + 0.25 * cv2.GaussianBlur(fine, (0, 0), 20)
    picture = np.asarray(rgb)[None, None] * shade[..., None] * 255
    return np.clip(picture, 0, 255).astype(np.uint8)


@functools.cache
def _tag_picture(tag_id: int, plate: float, square: float, pixels: int = 176) -> np.ndarray:
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, cameras.TAG_DICTIONARY))
    inner = round(pixels * square / plate)
    margin = (pixels - inner) // 2
    picture = np.full((pixels, pixels), 255, np.uint8)
    picture[margin : margin + inner, margin : margin + inner] = cv2.aruco.generateImageMarker(dictionary, tag_id, inner)
    return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)


def assets(scenario: Scenario) -> dict[str, bytes]:
    """The pictures that the MJCF names, as PNG."""
    background = scenario.background
    pictures = {
        "table.png": _texture(background.pattern, background.table),
        **{f"{tag.name}.png": _tag_picture(tag.id, tag.plate, tag.size) for tag in cameras.TAGS},
    }
    if scenario.board:
        pictures["board.png"] = np.repeat(print_of(BOARD, _PRINT)[..., None].round().astype(np.uint8), 3, axis=-1)
    return {name: cv2.imencode(".png", picture[..., ::-1])[1].tobytes() for name, picture in pictures.items()}


def mjcf(
    scenario: Scenario,
    robot: str | None,
    *,
    handheld: bool = False,
    timestep: float = TIMESTEP,
    payload_error: float = 0.0,
) -> str:
    """The MJCF of a scenario with an arm ('virtual_ur5e'), with the handheld gripper, or with neither.

    `payload_error` [-] makes the gripper really heavier than its table says. Pictures: `assets`.
    """
    if robot is not None and handheld:
        raise ConfigError(f"one gripper at a time: give a robot ({robot}) or handheld=True, not both")
    root = ET.Element("mujoco", model=f"{robot or ('handheld' if handheld else 'table')}")
    _add(root, "compiler", angle="radian")
    option = _add(root, "option", timestep=timestep, integrator="implicitfast", cone="elliptic", impratio="10")
    _add(option, "flag", autoreset="disable")  # divergence is a fault, never a silent reset
    _add(root, "statistic", extent="1", center="0.4 0 0.1")
    visual = _add(root, "visual")
    ambient = [scenario.background.ambient] * 3
    _add(visual, "headlight", ambient=ambient, diffuse="0.12 0.12 0.12", specular="0 0 0")
    _add(visual, "map", znear="0.005", zfar="12")
    _add(visual, "quality", shadowsize="2048", offsamples="4")
    _add(visual, "global", offwidth="960", offheight="720")
    asset = _add(root, "asset")
    _add(asset, "material", name="wall", emission="0.35", specular="0")  # the lamps of the room beyond
    _picture(asset, "table", "0.05")
    for tag in cameras.TAGS:
        _picture(asset, tag.name, "0")
    world = _add(root, "worldbody")
    for section in ("contact", "equality", "tendon", "actuator", "sensor"):
        _add(root, section)
    _surroundings(world, scenario.background)
    if robot is not None:
        _arm(root, world, robots.arm(robot), payload_error)
    if handheld:
        _handheld(root, world)
    for camera in cameras.CAMERAS.values():
        parent = world if camera.mount == "base_link" else _find(world, "flange")
        if parent is not None:
            T = camera.T_mount_camera if parent is world else robots.GRIPPER.T_flange_tcp @ camera.T_mount_camera
            looking = T.rotation @ np.diag([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z
            _add(parent, "camera", name=camera.name, pos=T.position, quat=_wxyz(looking), fovy="45")
    flange = _find(world, "flange")
    if scenario.tool and flange is not None:
        _held(root, flange, held.tool(scenario.tool), handheld)
    if scenario.board == "table":
        _board(root, world, board_on_the_table(BOARD))
    if scenario.board == "gripper" and flange is not None:
        _board(root, flange, robots.GRIPPER.T_flange_tcp @ T_TCP_BOARD)
    if scenario.mark is not None:
        _star(root, world, scenario.mark)
    if scenario.cabinet is not None:
        _cabinet(root, world, scenario.cabinet)
    for placed in scenario.movable:
        kind = catalogue.THINGS[placed.kind]
        rolls = isinstance(kind, ObjectKind) and (kind.rolls or placed.tilt != 0.0)
        firm = isinstance(kind, ObjectKind) and kind.firm
        _thing(root, world, placed, kind.shapes, kind.mass, rolls, firm)
    _room(world, scenario.background)
    return ET.tostring(root, encoding="unicode")


def _find(world: ET.Element, name: str) -> ET.Element | None:
    return next((body for body in world.iter("body") if body.get("name") == name), None)


def build(
    scenario: Scenario,
    robot: str | None,
    *,
    handheld: bool = False,
    timestep: float = TIMESTEP,
    payload_error: float = 0.0,
) -> mujoco.MjModel:
    """The compiled model; see `mjcf`."""
    text = mjcf(scenario, robot, handheld=handheld, timestep=timestep, payload_error=payload_error)
    return mujoco.MjModel.from_xml_string(text, assets(scenario))


def snapshot(data: mujoco.MjData) -> Array:
    """Everything that rendering needs, (nq + 7 nmocap,)."""
    return np.concatenate([data.qpos, data.mocap_pos.ravel(), data.mocap_quat.ravel()])


def apply_snapshot(model: mujoco.MjModel, data: mujoco.MjData, values: Array) -> None:
    """Put a snapshot of the same scenario and robot into `data` and compute what follows from it."""
    expected = model.nq + 7 * model.nmocap
    if values.shape != (expected,):
        raise ConfigError(f"a snapshot of {values.shape} numbers is not of this scene, which has ({expected},)")
    data.qpos[:] = values[: model.nq]
    data.mocap_pos[:] = values[model.nq : model.nq + 3 * model.nmocap].reshape(-1, 3)
    data.mocap_quat[:] = values[model.nq + 3 * model.nmocap :].reshape(-1, 4)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)


def hand(data: mujoco.MjData, T_world_tcp: Pose) -> None:
    """Where the hand wants the handheld gripper's TCP to be; the weld's softness does the rest."""
    T = T_world_tcp @ robots.GRIPPER.T_flange_tcp.inverse()
    data.mocap_pos[0] = T.position
    mujoco.mju_mat2Quat(data.mocap_quat[0], T.rotation.ravel())
