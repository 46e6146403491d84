"""What `kinema doctor` finds of the machine: real time, rights, udev rules, USB, and the vendors' packages.

Each check reads files below `root`, which is / but in tests, or asks a process of its own, and says what to do.
"""

import functools
import grp
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kinema import paths
from kinema.streams import Level

ROOT = Path("/")
RULES = "60-kinema-devices.rules"

_PRIORITY = 50  # of SCHED_FIFO; the control loop's
_ASK = "from kinema.control.rate import set_up_real_time; print(set_up_real_time(%d))"
_PATIENCE = 60.0  # [s] that an import may take
_LIMITS = (
    "put '@kinema - rtprio 90' and '@kinema - memlock unlimited' into /etc/security/limits.d/kinema.conf; "
    "sudo groupadd -f kinema && sudo usermod -aG kinema $USER; then log out and in again"
)
_USB_MEMORY = 1000  # [MB] that pylon asks for


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's table: where it looked, how bad it is, what it found, and what to do about it."""

    part: str
    subject: str
    level: Level
    text: str
    remedy: str = ""


# ---- real time


def real_time(needed: bool) -> Iterator[Finding]:
    """What the control loop would be granted, tried out; refusals are errors where a real arm needs it."""
    done = subprocess.run([sys.executable, "-c", _ASK % _PRIORITY], capture_output=True, text=True, check=True)
    yield from judge_real_time(done.stdout.strip(), needed)


def judge_real_time(granted: str, needed: bool) -> Iterator[Finding]:
    """`granted` in the words of `control.rate.set_up_real_time`."""
    for subject, refused in (("priority", "SCHED_FIFO refused"), ("memory", "memory not locked")):
        text = next((words for words in granted.split(", ") if words.startswith(refused)), "")
        if text:
            yield Finding("real time", subject, Level.ERROR if needed else Level.WARN, text, _LIMITS)
        else:
            what = "granted" if subject == "memory" else f"SCHED_FIFO {_PRIORITY} is granted"
            yield Finding("real time", subject, Level.OK, what)


def kernel(root: Path = ROOT) -> Iterator[Finding]:
    """Whether the kernel interrupts itself for the loop, and whether the cores run at full speed."""
    flag = root / "sys/kernel/realtime"
    if flag.exists() and flag.read_text().strip() == "1":
        yield Finding("real time", "kernel", Level.OK, "PREEMPT_RT")
    else:
        text = "is not PREEMPT_RT: under load a period of the loop may come milliseconds late"
        remedy = "Debian: apt install linux-image-rt-amd64; Ubuntu: pro enable realtime-kernel; and boot it"
        yield Finding("real time", "kernel", Level.WARN, text, remedy)
    governors = {file.read_text().strip() for file in root.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")}
    if slow := governors - {"performance"}:
        remedy = "cpupower frequency-set -g performance, at every boot"
        yield Finding("real time", "cores", Level.WARN, f"are governed by {', '.join(sorted(slow))}", remedy)
    else:
        yield Finding("real time", "cores", Level.OK, "at full speed" if governors else "nobody slows them down")


# ---- rights


def rules(needed: bool, root: Path = ROOT) -> Finding:
    """Whether our udev rules are installed, and as they are now."""
    ours = paths.root() / "firmware" / RULES
    remedy = f"sudo cp {ours} /etc/udev/rules.d/ && sudo udevadm control --reload; then plug the devices in again"
    folders = ("etc/udev/rules.d", "lib/udev/rules.d", "usr/lib/udev/rules.d")
    installed = next((file for folder in folders if (file := root / folder / RULES).exists()), None)
    if installed is None:
        level = Level.ERROR if needed else Level.WARN
        return Finding("rights", "udev rules", level, f"{RULES} is not installed", remedy)
    if installed.read_bytes() != ours.read_bytes():
        return Finding("rights", "udev rules", Level.WARN, f"{installed} is another than the checkout's", remedy)
    return Finding("rights", "udev rules", Level.OK, str(installed))


def groups(wanted: Iterable[str]) -> Iterator[Finding]:
    """Whether this session is in the groups that own the devices; root needs none."""
    for name in wanted:
        try:
            group = grp.getgrnam(name)
        except KeyError:
            yield Finding("rights", name, Level.WARN, "there is no such group", f"sudo groupadd {name}")
            continue
        if os.geteuid() == 0:
            yield Finding("rights", name, Level.OK, "root needs no group")
        elif group.gr_gid in (*os.getgroups(), os.getegid()):
            yield Finding("rights", name, Level.OK, "member")
        else:
            remedy = f"sudo usermod -aG {name} {os.environ.get('USER', '$USER')}; then log out and in again"
            yield Finding("rights", name, Level.ERROR, "not a member", remedy)


# ---- USB


@dataclass(frozen=True, slots=True)
class UsbKind:
    """A device of ours by vendor and products (none: all), and the speed [Mbit/s] that it needs at least."""

    name: str
    vendor: str
    products: tuple[str, ...] = ()
    speed: float = 12.0


D435 = UsbKind("RealSense D435", "8086", ("0b07",), 5000.0)
BASLER = UsbKind("Basler camera", "2676", (), 5000.0)
T265 = UsbKind("T265", "8087", ("0b37",), 480.0)
PHIDGET = UsbKind("Phidget", "06c2")
USB = (D435, BASLER, T265, UsbKind("T265, not yet booted", "03e7", ("2150",), 480.0), PHIDGET)


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """What the kernel says of a device that is plugged in; `speed` [Mbit/s], `serial` as its USB descriptor has it."""

    kind: UsbKind
    port: str
    serial: str
    speed: float
    node: Path


def usb(root: Path = ROOT) -> list[UsbDevice]:
    """Those of our kinds that are plugged in."""
    found = []
    for file in sorted(root.glob("sys/bus/usb/devices/*/idVendor")):
        folder = file.parent

        def told(name: str, folder: Path = folder) -> str:
            return (folder / name).read_text().strip() if (folder / name).exists() else ""

        kind = next(
            (k for k in USB if k.vendor == told("idVendor") and (not k.products or told("idProduct") in k.products)),
            None,
        )
        if kind is not None:
            node = root / f"dev/bus/usb/{int(told('busnum')):03d}/{int(told('devnum')):03d}"
            found.append(UsbDevice(kind, folder.name, told("serial"), float(told("speed") or 0.0), node))
    return found


def judge_usb(device: UsbDevice) -> Finding:
    """Its speed, and whether this user may open it."""
    kind, subject = device.kind, f"{device.kind.name} at {device.port}"
    if not os.access(device.node, os.R_OK | os.W_OK):
        remedy = f"install firmware/{RULES}, be a member of plugdev, plug it in again"
        return Finding("USB", subject, Level.ERROR, f"{device.node} may not be opened", remedy)
    if device.speed < kind.speed:
        text = f"runs at {device.speed:g} Mbit/s, needed are {kind.speed:g}"
        remedy = "plug it into a USB 3 port (blue, or SS) of the machine itself, by a USB 3 cable"
        return Finding("USB", subject, Level.ERROR, text, remedy)
    return Finding("USB", subject, Level.OK, f"{device.speed:g} Mbit/s")


def usb_memory(root: Path = ROOT) -> Finding | None:
    """The room for images on their way, which Basler's USB cameras need more of; None where there is no USB."""
    file = root / "sys/module/usbcore/parameters/usbfs_memory_mb"
    if not file.exists():
        return None
    room = int(file.read_text())
    if 0 < room < _USB_MEMORY:  # 0: as much as there is
        remedy = (
            f"usbcore.usbfs_memory_mb={_USB_MEMORY} on the kernel's command line; now: echo it into {file}, as root"
        )
        return Finding("USB", "memory", Level.WARN, f"{room} MB for images on their way, pylon asks for 1000", remedy)
    return Finding("USB", "memory", Level.OK, f"{room} MB for images on their way" if room else "without a limit")


# ---- the vendors' packages


@dataclass(frozen=True, slots=True)
class Sdk:
    """A vendor's package, the module that loads its library, and the backends that need it."""

    package: str
    module: str
    backends: frozenset[str]


SDKS = (
    Sdk("pyrealsense2", "pyrealsense2", frozenset({"realsense"})),
    Sdk("pypylon", "pypylon.pylon", frozenset({"basler"})),
    Sdk("ur_rtde", "rtde_control", frozenset({"ur"})),
    Sdk("xarm-python-sdk", "xarm.wrapper", frozenset({"xarm"})),
    Sdk("phidget22", "Phidget22.Devices.VoltageRatioInput", frozenset({"phidget"})),
    Sdk("dynamixel-sdk", "dynamixel_sdk", frozenset({"servo"})),
    Sdk("pyserial", "serial", frozenset({"serial", "servo"})),
)


@functools.cache
def pinned() -> dict[str, str]:
    """The versions that the checkout's pyproject.toml pins, by package."""
    with open(paths.root() / "pyproject.toml", "rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    found = (re.match(r"([\w.-]+)==([\w.]+)", line) for line in wanted)
    return {match[1]: match[2] for match in found if match}


def _unloadable(module: str) -> str:
    """Why a module can't be imported; '' where it can."""
    try:
        command = [sys.executable, "-c", f"import {module}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return f"it was still at it after {_PATIENCE:g} s"
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines and done.returncode > 0 else f"it crashed (status {done.returncode})"


def sdk(row: Sdk) -> Finding:
    """Its version against the pinned one, and whether it loads; in a process of its own, that a crash is told too."""
    wanted, python = pinned().get(row.package, ""), sys.executable
    remedy = f"{python} -m pip install --no-deps {row.package}{f'=={wanted}' if wanted else ''}"
    try:
        version = importlib.metadata.version(row.package)
    except importlib.metadata.PackageNotFoundError:
        return Finding("SDK", row.package, Level.ERROR, "is not installed", remedy)
    if why := _unloadable(row.module):
        if "libusb" in why:
            remedy = "Debian, Ubuntu: sudo apt install libusb-1.0-0"
        return Finding("SDK", row.package, Level.ERROR, f"{version} does not load: {why}", remedy)
    if wanted and version != wanted:
        return Finding("SDK", row.package, Level.WARN, f"{version}, the drivers were proven with {wanted}", remedy)
    return Finding("SDK", row.package, Level.OK, version)
