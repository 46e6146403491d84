"""URDF text from the robot table; `python -m kinema.urdf` rewrites the files in urdf/.

Links: base_link, one link a joint, `flange` (carries the gripper's mass), `tcp`. Shapes are the table's capsules.
"""

import math
import xml.etree.ElementTree as ET

import numpy as np

from kinema import paths, robots
from kinema.geometry import Array, Pose
from kinema.robots import GRIPPER, GripperModel

_COLOURS = {"grey": "0.78 0.80 0.83 1", "dark": "0.20 0.21 0.23 1"}


def _numbers(values: object) -> str:
    return " ".join(f"{value:.12g}" for value in np.ravel(np.asarray(values, float)))


def _rpy(rotation: Array) -> tuple[float, float, float]:
    """Fixed-axis roll, pitch, yaw [rad], as URDF has it."""
    pitch = math.atan2(-rotation[2, 0], math.hypot(rotation[0, 0], rotation[1, 0]))
    if abs(math.cos(pitch)) < 1e-9:
        return math.atan2(-rotation[1, 2], rotation[1, 1]), pitch, 0.0
    return math.atan2(rotation[2, 1], rotation[2, 2]), pitch, math.atan2(rotation[1, 0], rotation[0, 0])


def _origin(parent: ET.Element, T: Pose) -> None:
    ET.SubElement(parent, "origin", xyz=_numbers(T.position), rpy=_numbers(_rpy(T.rotation)))


def _inertial(link: ET.Element, mass: float, com: object, inertia: Array) -> None:
    inertial = ET.SubElement(link, "inertial")
    ET.SubElement(inertial, "origin", xyz=_numbers(com), rpy="0 0 0")
    ET.SubElement(inertial, "mass", value=_numbers(mass))
    names = (("ixx", 0, 0), ("ixy", 0, 1), ("ixz", 0, 2), ("iyy", 1, 1), ("iyz", 1, 2), ("izz", 2, 2))
    ET.SubElement(inertial, "inertia", {name: _numbers(inertia[i, j]) for name, i, j in names})


def _shapes(link: ET.Element, capsules: list[robots.Capsule], colour: str) -> None:
    """URDF knows no capsule: a cylinder with a sphere at either end."""
    for capsule in capsules:
        start, end = np.array(capsule.start), np.array(capsule.end)
        parts: list[tuple[Pose, str, dict[str, str]]] = [
            (Pose(at, np.eye(3)), "sphere", {"radius": _numbers(capsule.radius)}) for at in (start, end)
        ]
        length = float(np.linalg.norm(end - start))
        if length > 0:
            turn = _z_to((end - start) / length)
            size = {"radius": _numbers(capsule.radius), "length": _numbers(length)}
            parts.append((Pose((start + end) / 2, turn), "cylinder", size))
        for T, shape, size in parts:
            for role in ("visual", "collision"):
                element = ET.SubElement(link, role)
                _origin(element, T)
                ET.SubElement(ET.SubElement(element, "geometry"), shape, size)
                if role == "visual":
                    ET.SubElement(element, "material", name=colour)


def _z_to(direction: Array) -> Array:
    """A rotation (3, 3) that takes z to the unit vector `direction` (3,)."""
    aside = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    x = np.cross(aside, direction)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(direction, x), direction], axis=1)


def _joint(robot: ET.Element, name: str, kind: str, parent: str, child: str, T: Pose) -> ET.Element:
    joint = ET.SubElement(robot, "joint", name=name, type=kind)
    _origin(joint, T)
    ET.SubElement(joint, "parent", link=parent)
    ET.SubElement(joint, "child", link=child)
    return joint


def urdf(robot: str, gripper: GripperModel = GRIPPER) -> str:
    """The URDF of an arm with its gripper, by 'ur5e' or 'virtual_ur5e'."""
    model = robots.arm(robot)
    shapes = robots.capsules(model, gripper)
    root = ET.Element("robot", name=robot)
    for name, rgba in _COLOURS.items():
        ET.SubElement(ET.SubElement(root, "material", name=name), "color", rgba=rgba)

    base = ET.SubElement(root, "link", name="base_link")
    _shapes(base, [c for c in shapes if c.link == -1], "dark")
    T, parent = Pose.from_rotvec(np.zeros(3), [0.0, 0.0, model.base_yaw]), "base_link"
    for i, joint in enumerate(model.joints):
        name = f"link{i + 1}"
        link = ET.SubElement(root, "link", name=name)
        _inertial(link, joint.mass, robots.link_com(joint), robots.link_inertia(joint))
        _shapes(link, [c for c in shapes if c.link == i], "grey")
        element = _joint(root, joint.name, "revolute", parent, name, T)
        ET.SubElement(element, "axis", xyz="0 0 1")
        limit = {"lower": joint.lower, "upper": joint.upper, "effort": joint.torque, "velocity": joint.speed}
        ET.SubElement(element, "limit", {key: _numbers(value) for key, value in limit.items()})
        ET.SubElement(element, "dynamics", damping=_numbers(joint.damping), friction=_numbers(joint.friction))
        T, parent = robots.link_transform(joint), name

    flange = ET.SubElement(root, "link", name="flange")
    _inertial(flange, gripper.mass, (0.0, 0.0, gripper.com), np.diag(gripper.inertia))
    _shapes(flange, [c for c in shapes if c.link == model.dof], "dark")
    _joint(root, "flange_joint", "fixed", parent, "flange", T)
    ET.SubElement(root, "link", name="tcp")
    _joint(root, "tcp_joint", "fixed", "flange", "tcp", gripper.T_flange_tcp)
    ET.indent(root)
    return '<?xml version="1.0"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def main() -> None:
    """Rewrite urdf/ of the checkout."""
    for robot in robots.VIRTUAL_ROBOTS:
        (paths.root() / "urdf" / f"{robot}.urdf").write_text(urdf(robot))


if __name__ == "__main__":
    main()
