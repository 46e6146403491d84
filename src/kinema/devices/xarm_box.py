"""A UFACTORY control box by xarm-python-sdk: connecting without waiting for ever, and whether it is set up as we need.

What is particular to the SDK (1.18.4) stays here: ports are attributes of a class, connecting changes the process's
default socket time-out, a silent box is asked a hundred times, and every failure is a bare Exception.
"""

import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from kinema import robots
from kinema.errors import DeviceError
from kinema.geometry import Pose, distance
from kinema.robots import ArmModel

IDENTITY = Pose(np.zeros(3), np.eye(3))

_PROBE = 1.0  # [s] for the first answer of all
_SETTLE = 2.0  # [s] the box gets to report what was asked of it
_LOOK = 0.02  # [s] between two looks at its reports
_FIRMWARE = (1, 9, 0)  # since then joint states hold velocities
VERSION_REQUEST = bytes((0, 1, 0, 2, 0, 1, 1))  # a whole frame of the control port


@dataclass(frozen=True, slots=True)
class Tool:
    """What has to be configured in the control box for the tool: the TCP, and the payload that it balances.

    T_flange_tcp  [m]; payload [kg]; com [m] (3,) of the payload, from the flange
    tcp_error     [m], turn_error [rad] by which our kinematics and the box's may disagree at the TCP
    payload_error [kg], com_error [m] by which the payloads may
    """

    T_flange_tcp: Pose = robots.GRIPPER.T_flange_tcp
    payload: float = robots.GRIPPER.mass
    com: tuple[float, float, float] = (0.0, 0.0, robots.GRIPPER.com)
    tcp_error: float = 0.001
    turn_error: float = 0.02
    payload_error: float = 0.1
    com_error: float = 0.02


GRIPPER = Tool()  # the robot table's own


def connect(address: str, port: int, answer: float) -> Any:
    """An XArmAPI whose calls fail when the box has not answered for `answer` [s]; by itself it waits 2 s.

    Raises DeviceError when nobody answers there within a second.
    """
    _probe(address, port)
    from xarm.core.config.x_config import XCONF
    from xarm.wrapper import XArmAPI

    XCONF.SocketConf.TCP_CONTROL_PORT = port
    before = socket.getdefaulttimeout()
    try:
        api = XArmAPI(address, is_radian=True, report_type="rich", forbid_uds=True)
    except Exception as error:  # the SDK raises nothing finer
        raise DeviceError(f"the control box at {address}:{port} cannot be used: {error}") from error
    finally:
        socket.setdefaulttimeout(before)
    api.set_timeout(answer)
    return api


def check(api: Any, model: ArmModel) -> None:
    """Raise DeviceError unless the box drives such an arm, by a firmware that gives velocities, and feels forces.

    Without a source of wrench there is no impedance on an arm that takes positions, so there the arm is refused.
    """
    if api.axis != model.dof:
        raise DeviceError(f"the control box drives an arm of {api.axis} axes; {model.name} has {model.dof}")
    if api.version_number < _FIRMWARE:
        raise DeviceError(f"the control box has firmware {api.version_number}; {_FIRMWARE} or newer is needed")
    api.set_ft_sensor_enable(1)
    if not within(lambda: api.report_data.data_size > 0 and api.report_data.ft_sensor_is_enable):
        raise DeviceError(
            "the control box reports no working F/T sensor; impedance on an xArm needs the six-axis sensor: mount it, "
            "and identify its load in UFACTORY Studio"
        )


def check_tool(api: Any, model: ArmModel, tool: Tool) -> None:
    """Raise DeviceError while our TCP and the box's, or our payload and the box's, are not the same."""
    code, angles = api.get_servo_angle(is_radian=True, is_real=True)
    if code != 0:
        raise refused("get_servo_angle", code)
    code, pose = api.get_position(is_radian=True)
    if code != 0:
        raise refused("get_position", code)
    ours = robots.forward_kinematics(model, np.array(angles[: model.dof])) @ tool.T_flange_tcp
    theirs = Pose(np.array(pose[:3]) * 1e-3, Rotation.from_euler("xyz", pose[3:]).as_matrix())
    apart, turned = distance(ours, theirs)
    if apart > tool.tcp_error or turned > tool.turn_error:
        raise DeviceError(
            f"the TCP lies {apart * 1e3:.1f} mm and {math.degrees(turned):.1f} degrees from where the control box has "
            f"it, allowed are {tool.tcp_error * 1e3:g} mm and {math.degrees(tool.turn_error):.1f} degrees; its TCP "
            f"offset is {_numbers(api.report_data.tcp_offset[:3])} mm, the cell's "
            f"{_numbers(tool.T_flange_tcp.position * 1e3)} mm: set it in UFACTORY Studio"
        )
    mass, *com = api.report_data.tcp_payload  # [kg], [mm]
    off = np.abs(np.array(com) * 1e-3 - tool.com).max()
    if abs(mass - tool.payload) > tool.payload_error or off > tool.com_error:
        raise DeviceError(
            f"the control box balances a payload of {mass:.2f} kg at {_numbers(com)} mm, the cell has "
            f"{tool.payload:.2f} kg at {_numbers(np.array(tool.com) * 1e3)} mm: set it in UFACTORY Studio"
        )


def refused(call: str, code: int) -> DeviceError:
    return DeviceError(f"{call} was answered by {code}, see the SDK's API codes; look at UFACTORY Studio")


def meaning(error: int) -> str:
    """An error code of the control box in the vendor's words."""
    from xarm.core.config.x_code import ControllerErrorCodeMap

    if not error:
        return "no error"
    return ControllerErrorCodeMap[error]["en"]["title"] if error in ControllerErrorCodeMap else "unknown to this SDK"


def within(fulfilled: Callable[[], bool]) -> bool:
    """Wait for what the box's reports, five a second, will say; False when they have not said it after 2 s."""
    until = time.monotonic() + _SETTLE
    while not fulfilled():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK)
    return True


def _probe(address: str, port: int) -> None:
    """One question by hand, because of a silent box the SDK asks a hundred times, two seconds each."""
    try:
        with socket.create_connection((address, port), _PROBE) as connection:
            connection.settimeout(_PROBE)
            connection.sendall(VERSION_REQUEST)
            answered = bool(connection.recv(8))
    except OSError as error:
        raise DeviceError(f"nobody answers at {address}:{port} ({error}); is the control box on?") from error
    if not answered:
        raise DeviceError(f"{address}:{port} closes the connection at once; is it a UFACTORY control box?")


def _numbers(values: Any) -> str:
    return "(" + ", ".join(f"{value:.1f}" for value in values) + ")"
