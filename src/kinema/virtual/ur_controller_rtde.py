"""RTDE, the port that a UR controller's data and registers go through: our reading of it, not the vendor's simulator.

Source: Universal Robots, "Real-Time Data Exchange (RTDE) Guide", protocol version 2: packages of big-endian size and
type; a client names the outputs it wants and how often, and the inputs it will write. An input has one writer: a
second client that asks for it is told IN_USE.
"""

import logging
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from kinema.geometry import Array
from kinema.virtual.controller_ports import Connection, Port

PORT = 30004
_HEADER = struct.Struct(">HB")
_PROTOCOL_VERSION, _URCONTROL_VERSION = ord("V"), ord("v")
_OUTPUTS, _INPUTS, _START, _PAUSE, _DATA = ord("O"), ord("I"), ord("S"), ord("P"), ord("U")

_CODES = {
    "DOUBLE": "d",
    "INT32": "i",
    "UINT32": "I",
    "UINT64": "Q",
    "UINT8": "B",
    "BOOL": "?",
    "VECTOR6D": "6d",
    "VECTOR3D": "3d",
    "VECTOR6INT32": "6i",
}
_REGISTERS = 48

Version = tuple[int, int, int, int]
Value = int | float | bool | tuple | Array


@dataclass(frozen=True, slots=True)
class Output:
    """An output's type, and the first versions, of CB3 and of e-series controllers, that offer it."""

    kind: str
    cb3: tuple[int, int] | None = (3, 0)
    e_series: tuple[int, int] = (5, 0)

    def offered(self, version: Version) -> bool:
        first = self.e_series if version[0] >= 5 else self.cb3
        return first is not None and version[:2] >= first


def _outputs() -> dict[str, Output]:
    vectors = (
        "target_q target_qd target_qdd target_current target_moment actual_q actual_qd actual_current "
        "joint_control_output actual_TCP_pose actual_TCP_speed actual_TCP_force target_TCP_pose target_TCP_speed "
        "joint_temperatures actual_joint_voltage"
    )
    numbers = (
        "timestamp actual_execution_time speed_scaling target_speed_fraction actual_momentum actual_main_voltage "
        "actual_robot_voltage actual_robot_current standard_analog_input0 standard_analog_input1 "
        "standard_analog_output0 standard_analog_output1"
    )
    table = {name: Output("VECTOR6D") for name in vectors.split()}
    table |= {name: Output("DOUBLE") for name in numbers.split()}
    table |= {name: Output("UINT64") for name in ("actual_digital_input_bits", "actual_digital_output_bits")}
    table |= {name: Output("INT32") for name in ("robot_mode", "safety_mode")}
    table |= {name: Output("UINT32") for name in ("runtime_state", "robot_status_bits", "safety_status_bits")}
    table |= {"joint_mode": Output("VECTOR6INT32"), "actual_tool_accelerometer": Output("VECTOR3D")}
    table |= {"ft_raw_wrench": Output("VECTOR6D", None, (5, 9))}
    table |= {"payload": Output("DOUBLE", (3, 15), (5, 11)), "payload_cog": Output("VECTOR3D", (3, 15), (5, 11))}
    table |= {"payload_inertia": Output("VECTOR6D", (3, 15), (5, 11))}
    table |= {"actual_current_as_torque": Output("VECTOR6D", None, (5, 23))}
    for i in range(_REGISTERS):
        table |= {f"output_int_register_{i}": Output("INT32"), f"output_double_register_{i}": Output("DOUBLE")}
    return table


OUTPUTS = _outputs()
_MASKED = "standard_digital_output configurable_digital_output tool_digital_output"
INPUTS = {
    **{f"input_int_register_{i}": "INT32" for i in range(_REGISTERS)},
    **{f"input_double_register_{i}": "DOUBLE" for i in range(_REGISTERS)},
    **{name: "UINT8" for output in _MASKED.split() for name in (f"{output}_mask", output)},
    "standard_analog_output_mask": "UINT8",
    "standard_analog_output_type": "UINT8",
    "standard_analog_output_0": "DOUBLE",
    "standard_analog_output_1": "DOUBLE",
    "speed_slider_mask": "UINT32",
    "speed_slider_fraction": "DOUBLE",
    "external_force_torque": "VECTOR6D",
}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Recipe:
    """Which variables a package holds, in order, and how it is packed."""

    names: list[str]
    layout: struct.Struct


@dataclass(slots=True)
class _Client:
    outputs: _Recipe | None = None
    nothing: list[tuple] = field(default_factory=list)  # what is sent of each output while nobody knows it
    every: int = 1  # ticks
    started: bool = False
    inputs: dict[int, _Recipe] = field(default_factory=dict)


class Rtde:
    """The RTDE server of one controller.

    frequency [Hz] of the controller's cycle
    written   is called with the names of the inputs whenever a client has written some; `inputs` holds their values
    """

    def __init__(self, address: str, version: Version, frequency: float, written: Callable[[list[str]], None]) -> None:
        self._version, self._frequency, self._written = version, frequency, written
        self.inputs: dict[str, tuple] = {}
        self._clients: dict[Connection, _Client] = {}
        self.wanted: frozenset[str] = frozenset()  # the outputs that some client has asked for
        self.port = Port(address, PORT, self._hear, self._welcome, self._leave)
        self._tick = 0

    # -- clients

    def _welcome(self, client: Connection) -> None:
        self._clients[client] = _Client()

    def _leave(self, client: Connection) -> None:
        del self._clients[client]
        self._note_wanted()

    def _note_wanted(self) -> None:
        asked = (client.outputs for client in self._clients.values())
        self.wanted = frozenset(name for recipe in asked if recipe is not None for name in recipe.names)

    def _hear(self, client: Connection) -> None:
        while len(client.data) >= _HEADER.size:
            size, kind = _HEADER.unpack_from(client.data)
            if size < _HEADER.size:
                client.close()  # no package is that short: whatever this is, it isn't RTDE
                return
            if len(client.data) < size:
                return
            body, client.data = client.data[_HEADER.size : size], client.data[size:]
            try:
                answer = self._answer(self._clients[client], kind, body)
            except (struct.error, UnicodeDecodeError):
                client.close()
                return
            if answer is not None:
                _send(client, kind, answer)

    def _answer(self, client: _Client, kind: int, body: bytes) -> bytes | None:
        if kind == _PROTOCOL_VERSION:
            return bytes([body == b"\x00\x02"])
        if kind == _URCONTROL_VERSION:
            return struct.pack(">4I", *self._version)
        if kind == _OUTPUTS:
            return self._set_up_outputs(client, body)
        if kind == _INPUTS:
            return self._set_up_inputs(client, body)
        if kind in (_START, _PAUSE):
            client.started = kind == _START and client.outputs is not None
            return bytes([client.started or kind == _PAUSE])
        if kind == _DATA and body:
            self._take(client, body)
        else:
            _log.info("RTDE package of type %d is not understood", kind)
        return None

    def _set_up_outputs(self, client: _Client, body: bytes) -> bytes:
        (frequency,) = struct.unpack_from(">d", body)
        names = _names(body[8:])
        kinds = [
            OUTPUTS[name].kind if name in OUTPUTS and OUTPUTS[name].offered(self._version) else "NOT_FOUND"
            for name in names
        ]
        good = "NOT_FOUND" not in kinds
        if good:
            client.outputs = _Recipe(names, struct.Struct(">B" + "".join(_CODES[kind] for kind in kinds)))
            client.nothing = [(0,) * int(_CODES[kind][:-1] or 1) for kind in kinds]
            self._note_wanted()
            client.every = max(1, round(self._frequency / frequency))
        return bytes([good]) + ",".join(kinds).encode()

    def _set_up_inputs(self, client: _Client, body: bytes) -> bytes:
        names = _names(body)
        others = [other for other in self._clients.values() if other is not client]
        taken = {name for other in others for recipe in other.inputs.values() for name in recipe.names}
        kinds = ["IN_USE" if name in taken else INPUTS.get(name, "NOT_FOUND") for name in names]
        if any(kind not in _CODES for kind in kinds):
            return b"\x00" + ",".join(kinds).encode()
        number = len(client.inputs) + 1
        client.inputs[number] = _Recipe(names, struct.Struct(">" + "".join(_CODES[kind] for kind in kinds)))
        return bytes([number]) + ",".join(kinds).encode()

    def _take(self, client: _Client, body: bytes) -> None:
        recipe = client.inputs.get(body[0])
        if recipe is None or recipe.layout.size != len(body) - 1:
            _log.info("an RTDE data package of %d bytes fits no recipe of its client", len(body))
            return
        values = iter(recipe.layout.unpack_from(body, 1))
        for name in recipe.names:
            count = 6 if INPUTS[name] == "VECTOR6D" else 1
            self.inputs[name] = tuple(next(values) for _ in range(count))
        self._written(recipe.names)

    # -- what the controller asks

    def integer(self, register: int) -> int:
        """An input register; 0 before anybody has written it."""
        return int(self.inputs.get(f"input_int_register_{register}", (0,))[0])

    def double(self, register: int, count: int = 1) -> Array:
        """Input registers (count,) from one on; 0 before anybody has written them."""
        return np.array([self.inputs.get(f"input_double_register_{register + i}", (0.0,))[0] for i in range(count)])

    def publish(self, values: Mapping[str, Value]) -> None:
        """One cycle's outputs to whoever is due; an output without a value is sent as zeros."""
        self._tick += 1
        for connection, client in list(self._clients.items()):
            if client.started and client.outputs is not None and self._tick % client.every == 0:
                numbers: list[float] = [1]  # the recipe's number
                for name, nothing in zip(client.outputs.names, client.nothing, strict=True):
                    numbers.extend(_flat(values.get(name, nothing)))
                _send(connection, _DATA, client.outputs.layout.pack(*numbers))


def _names(body: bytes) -> list[str]:
    """Names between commas; ur_rtde ends its list with one."""
    return [name for name in body.decode().split(",") if name]


def _flat(value: Value) -> list | tuple:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value if isinstance(value, tuple) else (value,)


def _send(client: Connection, kind: int, body: bytes) -> None:
    client.send(_HEADER.pack(_HEADER.size + len(body), kind) + body)
