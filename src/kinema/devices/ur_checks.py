"""Is this the arm that we have a model of? What a UR controller believes, compared with what control believes."""

import socket
import struct
from collections.abc import Sequence

import numpy as np

from kinema import robots
from kinema.dh import Chain
from kinema.errors import DeviceError
from kinema.geometry import Array, Pose, distance
from kinema.robots import ArmModel, GripperModel

_PRIMARY = 30001
_ROBOT_STATE, _KINEMATICS_INFO = 16, 5
_MESSAGE, _INFO = struct.Struct(">iB"), struct.Struct(">24x24dI")
_WAIT = 2.0  # [s]

_APART = 0.001  # [m] of two forward kinematics
_TURNED = 0.01  # [rad] of two TCPs
_MASS, _COG = 0.05, 0.01  # [kg, m] of two payloads
_POSTURES = np.random.default_rng(0).uniform(-2.0, 2.0, (8, 6))


def read_chain(address: str) -> Chain:
    """The kinematic calibration that a controller holds.

    Source: Universal Robots, "Remote Control via TCP/IP", primary interface: robot state, sub-package 5, kinematics
    info. Raises DeviceError when it does not come.
    """
    try:
        with socket.create_connection((address, _PRIMARY), _WAIT) as primary, primary.makefile("rb") as stream:
            for _ in range(50):  # other messages come first
                size, kind = _MESSAGE.unpack(stream.read(_MESSAGE.size))
                body = stream.read(size - _MESSAGE.size)
                if kind == _ROBOT_STATE and (info := _part(body, _KINEMATICS_INFO)) is not None:
                    *rows, _ = _INFO.unpack_from(info)
                    return Chain(*np.array(rows).reshape(4, 6))
    except (OSError, struct.error) as error:
        raise DeviceError(f"{address}:{_PRIMARY}: the controller does not tell its kinematics ({error})") from error
    raise DeviceError(f"{address}:{_PRIMARY}: the controller's robot state holds no kinematics")


def _part(body: bytes, kind: int) -> bytes | None:
    """One sub-package of a robot state."""
    at = 0
    while at + _MESSAGE.size <= len(body):
        size, found = _MESSAGE.unpack_from(body, at)
        if found == kind:
            return body[at + _MESSAGE.size : at + size]
        at += max(size, _MESSAGE.size)
    return None


def check_kinematics(name: str, model: ArmModel, gripper: GripperModel, q: Array, pose: Pose, chain: Chain) -> None:
    """Raise DeviceError where our forward kinematics and the controller's differ by more than 1 mm.

    At the measured joints q (6,) against the TCP that it reports, `T_base_tcp`, and all over against its calibration.
    """
    ours = robots.forward_kinematics(model, q) @ gripper.T_flange_tcp
    apart = distance(ours, pose)[0]
    if apart > _APART:
        raise DeviceError(
            f"{name}: our forward kinematics and the TCP that the controller reports are {apart * 1e3:.1f} mm apart, "
            f"allowed is {_APART * 1e3:g} mm; check TCP and type of arm, and use the controller's own calibration"
        )
    base = Pose.from_rotvec(np.zeros(3), np.array([0.0, 0.0, model.base_yaw]))
    worst = max(
        distance(robots.forward_kinematics(model, posture), base @ chain.frames(posture)[-1])[0]
        for posture in _POSTURES
    )
    if worst > _APART:
        raise DeviceError(
            f"{name}: our flange and that of the controller's calibration are up to {worst * 1e3:.1f} mm apart, "
            f"allowed is {_APART * 1e3:g} mm; use the calibration that the controller holds"
        )


def check_tcp(name: str, gripper: GripperModel, offset: Sequence[float]) -> None:
    """Raise DeviceError where the installation's TCP, a pose vector (6,) from the flange, is not the gripper's."""
    theirs = Pose.from_rotvec(np.array(offset[:3]), np.array(offset[3:]))
    apart, turned = distance(gripper.T_flange_tcp, theirs)
    if apart > _APART or turned > _TURNED:
        wanted = ", ".join(f"{x:g}" for x in gripper.T_flange_tcp.position)
        raise DeviceError(
            f"{name}: the controller's TCP is at ({', '.join(f'{x:.4g}' for x in offset)}), the cell's gripper has it "
            f"at ({wanted}, 0, 0, 0) m and rad; set it in the installation"
        )


def check_payload(name: str, gripper: GripperModel, mass: float, cog: Sequence[float]) -> None:
    """Raise DeviceError where the controller's payload [kg] or its centre (3,) [m] is not the gripper's."""
    centre = np.array([0.0, 0.0, gripper.com])
    if abs(mass - gripper.mass) > _MASS or np.abs(np.array(cog) - centre).max() > _COG:
        raise DeviceError(
            f"{name}: the controller's payload is {mass:g} kg at ({', '.join(f'{x:g}' for x in cog)}) m, the cell's "
            f"gripper has {gripper.mass:g} kg at (0, 0, {gripper.com:g}) m, allowed are {_MASS:g} kg and {_COG:g} m "
            "apart: its wrench would be wrong; set it in the installation"
        )
