"""What `kinema doctor` finds of one cell: its devices, the way to its arm, and its calibration."""

import datetime
import fcntl
import functools
import os
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kinema import cell_devices
from kinema.apps.doctor_machine import PHIDGET, T265, Finding, UsbDevice
from kinema.calibration.bundle import LATENCY, LOAD_CELL, load_bundle, load_force_scale
from kinema.calibration.files import MAX_AGE, Provenance, TagMap, load
from kinema.cell_devices import CameraDevice
from kinema.cell_file import Cell
from kinema.devices import robotiq, xarm_box
from kinema.devices.ownership import owner_of
from kinema.errors import CalibrationError, DeviceError
from kinema.streams import Level
from kinema.topics import CAMERAS

_CONNECTIONS = 40
_APART = 0.01  # [s] between two
_PATIENCE = 1.0  # [s] for one
_MEDIAN, _WORST = 0.5e-3, 2e-3  # [s] of a handshake: a quarter of a UR's cycle, and all of it
_SOON = datetime.timedelta(days=30)  # before a calibration is too old
_SIOCGIFADDR = 0x8915  # <linux/sockios.h>
# ---- the way to the arm


def _interface(address: str) -> str:
    """The network interface by which an address is reached; '' where the kernel does not say."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # sends nothing
        own = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            try:
                asked = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:
                continue  # it has no address
            if socket.inet_ntoa(asked[20:24]) == own:
                return name
    return ""


@dataclass(frozen=True, slots=True)
class Controller:
    """Who ought to answer at a port, how it is greeted, and how its answer begins; what to do where it doesn't."""

    name: str
    port: int
    greeting: bytes
    answer: bytes
    remedy: str


DASHBOARD = Controller(
    "a UR controller's dashboard",
    29999,
    b"",
    b"Connected: Universal Robots",
    "switch the arm on; compare the address with the pendant's (Settings, System, Network); ping it",
)
BOX = Controller(
    "an xArm control box",
    502,
    xarm_box.VERSION_REQUEST,
    xarm_box.VERSION_REQUEST[:2],
    "switch the control box on; its address stands on its label; ping it",
)
URCAP = Controller(
    "a Robotiq URCap",
    robotiq.PORT,
    b"GET STA\n",
    b"STA",
    "switch the UR controller on, and install Robotiq's URCap there",
)


def _meet(address: str, port: int, who: Controller) -> str:
    """What answers a greeting. Raises OSError where nothing does."""
    with socket.create_connection((address, port), _PATIENCE) as connection:
        connection.settimeout(_PATIENCE)
        connection.sendall(who.greeting)
        answer = connection.recv(64)
    return "" if answer.startswith(who.answer) else f"what answers there is not {who.name}: {answer[:32]!r}"


def _handshakes(address: str, port: int) -> list[float]:
    """[s] that each of several connections took: one round trip of the network. Raises OSError where there is none."""
    taken = []
    for _ in range(_CONNECTIONS):
        began = time.perf_counter()
        with socket.create_connection((address, port), _PATIENCE):
            taken.append(time.perf_counter() - began)
        time.sleep(_APART)
    return taken


def network(what: str, address: str, who: Controller, port: int | None = None) -> Finding:
    """Latency to a controller, and by what it is reached."""
    port = port or who.port
    where = f"{address}:{port}"
    try:
        if wrong := _meet(address, port, who):
            return Finding("network", what, Level.ERROR, f"{where}: {wrong}", who.remedy)
        taken, name = _handshakes(address, port), _interface(address)
    except OSError as error:
        return Finding("network", what, Level.ERROR, f"{where}: {error}", who.remedy)
    median, worst = statistics.median(taken), max(taken)
    text = f"{where} by {name or 'an unknown interface'}: {1e3 * median:.2f} ms, at worst {1e3 * worst:.2f} ms"
    if Path(f"/sys/class/net/{name}/wireless").exists():
        return Finding("network", what, Level.ERROR, f"{text}; wireless", "connect the controller by cable")
    if median > _MEDIAN or worst > _WORST:
        asked = f"wanted are {1e3 * _MEDIAN:g} ms, at worst {1e3 * _WORST:g} ms"
        remedy = "give the controller a network port of its own: no switch that others use, no USB adapter"
        return Finding("network", what, Level.WARN, f"{text}; {asked}", remedy)
    return Finding("network", what, Level.OK, text)


def reach(cell: Cell) -> Iterator[Finding]:
    """The controllers of arm and gripper."""
    arm, gripper = cell.devices.arm, cell.devices.gripper
    if isinstance(arm, cell_devices.UrArm):
        yield network("arm", arm.address, DASHBOARD)
    elif isinstance(arm, cell_devices.XArm):
        yield network("arm", arm.address, BOX, arm.port)
    if isinstance(gripper, cell_devices.RobotiqGripper):
        yield network("gripper", gripper.address, URCAP, gripper.port)


# ---- devices


def port(what: str, path: Path) -> Finding:
    """A serial port: there, ours, and nobody else's."""
    if not path.exists():
        remedy = "plug it in; its udev rule makes the name (firmware/60-kinema-devices.rules)"
        return Finding("device", what, Level.ERROR, f"{path} is not there", remedy)
    if not os.access(path, os.R_OK | os.W_OK):
        remedy = "be a member of the group that owns it: dialout on Debian"
        return Finding("device", what, Level.ERROR, f"{path} may not be opened", remedy)
    try:
        file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        return Finding("device", what, Level.ERROR, f"{path} cannot be opened ({error.strerror})", "end who has it")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Finding("device", what, Level.OK, f"{path}, open in {owner_of(path)}")
    finally:
        os.close(file)
    return Finding("device", what, Level.OK, f"{path}, free")


def cameras(cell: Cell, present: Callable[[CameraDevice], Mapping[str, str]]) -> Iterator[Finding]:
    """Whether the SDKs see the cell's cameras; `present` lists serial numbers, and what they belong to."""
    for name in CAMERAS:
        camera, subject = getattr(cell.devices.cameras, name), f"camera {name}"
        try:
            found = present(camera)
        except DeviceError as error:
            yield Finding("device", subject, Level.ERROR, str(error))
            continue
        if camera.serial in found:
            yield Finding("device", subject, Level.OK, f"{camera.serial}: {found[camera.serial]}")
        else:
            text = f"{camera.backend} {camera.serial} is not plugged in; present: {', '.join(sorted(found)) or 'none'}"
            remedy = "look after its cable, or correct the serial number in the cell file"
            yield Finding("device", subject, Level.ERROR, text, remedy)


def _plugged(subject: str, what: str, there: bool, found: str) -> Finding:
    if there:
        return Finding("device", subject, Level.OK, f"{what} is plugged in")
    return Finding("device", subject, Level.ERROR, f"{what} is not plugged in{found}", "look after its cable")


def others(cell: Cell, usb: list[UsbDevice]) -> Iterator[Finding]:
    """Load cell, servo and tracker."""
    force, jaw, tracker = cell.devices.load_cell, cell.devices.gripper, cell.devices.tracker
    if isinstance(force, cell_devices.SerialLoadCell):
        yield port("load cell", force.port)
    elif isinstance(force, cell_devices.PhidgetLoadCell):
        serials = {device.serial for device in usb if device.kind is PHIDGET}
        found = f"; present: {', '.join(sorted(serials)) or 'none'}"
        yield _plugged("load cell", f"Phidget {force.serial}", force.serial in serials, found)
    if isinstance(jaw, cell_devices.ServoGripper):
        yield port("gripper", jaw.port)
    if isinstance(tracker, cell_devices.T265):
        yield _plugged("tracker", "a T265", any(device.kind.name.startswith(T265.name) for device in usb), "")


def t265_interpreter(find: Callable[[], str]) -> Finding:
    """Whether there is a Python whose librealsense still knows the T265."""
    try:
        return Finding("SDK", "T265", Level.OK, find())
    except DeviceError as error:
        text, _, remedy = str(error).rpartition(". ")
        return Finding("SDK", "T265", Level.ERROR, text, remedy)


# ---- calibration


def _age(made: Mapping[str, Provenance], today: datetime.date, subject: str, remedy: str) -> Finding:
    """Files that may be used, by their oldest."""
    measured = {name: today - row.date for name, row in made.items() if row.origin == "measured"}
    if not measured:
        return Finding("calibration", subject, Level.OK, f"{', '.join(made)}: simulator truth")
    oldest = max(measured, key=lambda name: measured[name])
    text = f"{', '.join(made)}: measured {measured[oldest].days} days ago or later"
    if MAX_AGE - measured[oldest] < _SOON:
        left = (MAX_AGE - measured[oldest]).days
        return Finding("calibration", subject, Level.WARN, f"{text}; {oldest} is too old in {left} days", remedy)
    return Finding("calibration", subject, Level.OK, text)


def _judged(subject: str, today: datetime.date, remedy: str, read: Callable[[], Mapping[str, Provenance]]) -> Finding:
    try:
        return _age(read(), today, subject, remedy)
    except CalibrationError as error:
        text, _, how = str(error).rpartition("; ")
        return Finding("calibration", subject, Level.ERROR, text, how)


def calibration(cell: Cell, today: datetime.date) -> Iterator[Finding]:
    """Every file that the cell's devices need: there, theirs, good, and how old."""
    folder, devices = cell.calibration_folder, cell.devices
    serials = cell.serials(handheld=False) if devices.arm is not None else {}
    serials |= cell.serials(handheld=True) if devices.tracker is not None else {}

    def bundle(role: str) -> dict[str, Provenance]:
        found = load_bundle(folder, {role: serials[role]}, today=today)
        return {name: file.provenance for name, file in found.files.items()} | {
            LATENCY.file: found.latencies.provenance
        }

    def scale() -> dict[str, Provenance]:
        return {LOAD_CELL.file: load_force_scale(folder, cell.bridge, today=today).provenance}

    def tags(name: str) -> dict[str, Provenance]:
        return {name: load(folder / name, TagMap, remedy="print or survey it", today=today).provenance}

    for role in serials:
        yield _judged(role, today, "make it anew, as docs/calibration.md says", functools.partial(bundle, role))
    if cell.bridge:
        yield _judged("force scale", today, f"make it anew with {LOAD_CELL.service}", scale)
    if isinstance(devices.tracker, cell_devices.TagTracker):
        yield _judged("tag map", today, "measure the tags anew", functools.partial(tags, devices.tracker.map))


def backends(cell: Cell) -> set[str]:
    """Every backend that the cell names."""
    devices = cell.devices
    named = (devices.arm, devices.gripper, devices.load_cell, devices.tracker, *vars(devices.cameras).values())
    return {device.backend for device in named if device is not None}
