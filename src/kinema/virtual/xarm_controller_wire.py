"""UXBUS, the wire of a UFACTORY controller, seen from the controller: its requests, replies and report records.

Our reading of the protocol, not the vendor's simulator. Sources: UFACTORY, "xArm Developer Manual" (private TCP
protocol, automatic reports), and xarm-python-sdk 1.18.4 (`core/wrapper/uxbus_cmd_tcp.py`, `x3/report.py`), which speaks
the other side. Integers are big-endian, floats little-endian; lengths are mm, angles rad, forces N, torques N m.
"""

import enum
import struct
from dataclasses import dataclass

import numpy as np

_HEADER = struct.Struct(">HHH")  # transaction, protocol, length of what follows
PRIVATE = (2, 3)  # protocol numbers; 3 asks for a sign of life every 90 s

CONTROL_PORT = 502
NORMAL_PORT, RICH_PORT, REAL_PORT = 30001, 30002, 30003


class Function(enum.IntEnum):
    """The functions that are served; numbers of the manual's command table."""

    VERSION = 1
    SERIAL = 2
    ENABLE = 11
    SET_STATE = 12
    GET_STATE = 13
    WAITING = 14
    GET_ERROR = 15
    CLEAN_ERROR = 16
    CLEAN_WARNING = 17
    SET_MODE = 19
    SERVO_J = 29
    SET_TCP_OFFSET = 35
    SET_LOAD = 36
    GET_POSE = 41
    GET_JOINTS = 42
    RS485 = 124
    TOOL_READ = 128
    FT_DATA = 200
    FT_ENABLE = 201
    FT_ZERO = 206


class Flag(enum.IntFlag):
    """Bits of the state byte in every reply."""

    INVALID = 0x08
    NOT_READY = 0x10
    WARNING = 0x20
    ERROR = 0x40


@dataclass(frozen=True, slots=True)
class Request:
    """One frame of the control port."""

    transaction: int
    protocol: int
    function: int
    payload: bytes

    def floats(self, count: int, offset: int = 0) -> np.ndarray:
        """`count` numbers of the payload from a byte offset on; raises ValueError where it is shorter."""
        return np.frombuffer(self.payload, "<f4", count, offset).astype(float)


def requests(data: bytes) -> tuple[list[Request], bytes]:
    """The whole frames at the beginning of `data`, and the rest."""
    found = []
    while len(data) >= _HEADER.size:
        transaction, protocol, length = _HEADER.unpack_from(data)
        end = _HEADER.size + length
        if len(data) < end:
            break
        if length:
            found.append(Request(transaction, protocol, data[_HEADER.size], data[_HEADER.size + 1 : end]))
        data = data[end:]
    return found, data


def reply(request: Request, flags: int, data: bytes = b"") -> bytes:
    """The frame that answers a request."""
    header = _HEADER.pack(request.transaction, request.protocol, len(data) + 2)
    return header + bytes((request.function, flags)) + data


def floats(values: np.ndarray) -> bytes:
    return np.asarray(values, "<f4").tobytes()


# ---- reports

_FIELDS = {  # name: format, offset [bytes]; what isn't named is zero
    "size": (">u4", 0),
    "state_mode": ("u1", 4),
    "joints": (("<f4", 7), 7),
    "pose": (("<f4", 6), 35),
    "torques": (("<f4", 7), 59),
    "brakes": ("u1", 87),
    "enabled": ("u1", 88),
    "error": ("u1", 89),
    "warning": ("u1", 90),
    "tcp_offset": (("<f4", 6), 91),
    "load": (("<f4", 4), 115),
    "collision_sensitivity": ("u1", 131),
    "gravity": (("<f4", 3), 133),
    "robot_type": ("u1", 145),
    "axes": ("u1", 146),
    "version": ("S30", 151),
    "tcp_limits": (("<f4", 5), 181),
    "joint_limits": (("<f4", 5), 201),
    "ft": (("<f4", 6), 433),
    "ft_raw": (("<f4", 6), 457),
    "switches": ("u1", 578),
}
_REAL_FIELDS = {
    **{name: _FIELDS[name] for name in ("size", "state_mode", "joints", "pose", "torques")},
    "ft": (("<f4", 6), 87),
    "ft_raw": (("<f4", 6), 111),
}


def _layout(fields: dict, size: int) -> np.dtype:
    kept = {name: (form, at) for name, (form, at) in fields.items() if at + np.dtype(form).itemsize <= size}
    return np.dtype(
        {
            "names": list(kept),
            "formats": [form for form, _ in kept.values()],
            "offsets": [at for _, at in kept.values()],
            "itemsize": size,
        }
    )


REPORTS = {  # port: layout, rate [Hz]
    NORMAL_PORT: (_layout(_FIELDS, 145), 5.0),
    RICH_PORT: (_layout(_FIELDS, 587), 5.0),
    REAL_PORT: (_layout(_REAL_FIELDS, 135), 100.0),
}


def report(port: int, facts: dict[str, object]) -> bytes:
    """One record of a report port from what the controller knows; what the port doesn't show is left out."""
    layout, _ = REPORTS[port]
    record = np.zeros((), layout)
    record["size"] = layout.itemsize
    for name in layout.names or ():
        if name in facts:
            record[name] = facts[name]
    return record.tobytes()
