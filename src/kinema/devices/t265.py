"""The T265 through librealsense, which runs in a helper process with an interpreter of its own (`t265_helper.py`).

A helper that ends, or falls silent, is started anew, unattended: the tracker then boots, and its world is a new one, so
that its first pose counts as a jump (FAULTS F12). librealsense's own mark of a relocalisation is handed on.
"""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from kinema import paths
from kinema.clock import now_ns, to_ns
from kinema.device_clock import DeviceClock
from kinema.devices import t265_helper
from kinema.devices.ownership import claim
from kinema.errors import DeviceError
from kinema.geometry import Pose
from kinema.interfaces import TrackedPose

LAST_SDK = (2, 53, 1)  # of librealsense that knows the T265

_BOOT = 20.0  # [s] that the tracker may take from opening to its first pose
_SILENCE = 1.0  # [s] without a pose after which the helper is started anew: two hundred of them
_PATIENCE = 10.0  # [s] that the helper looks for the tracker
_END = 3.0  # [s] that the helper may take to end
_PROBE = "from importlib.metadata import version; print(version('pyrealsense2'))"
_VARIABLE = "KINEMA_T265_PYTHON"
_REMEDY = (
    "make one below the checkout: python3.10 -m venv .venv-t265 && "
    ".venv-t265/bin/pip install pyrealsense2==2.53.1.4623 (Debian and Ubuntu: apt install libusb-1.0-0 first); "
    f"or name one in ${_VARIABLE}"
)


def _environment() -> dict[str, str]:
    """This process's, less what leads an interpreter to packages and libraries of another."""
    leading = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in leading}


def _unfit(python: str) -> str:
    """Why an interpreter can't drive a T265; '' where it can."""
    try:
        asked = [python, "-I", "-c", _PROBE]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60.0, env=_environment())
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{python}: does not run ({getattr(error, 'strerror', None) or 'no answer'})"
    version = done.stdout.strip()
    if done.returncode:
        return f"{python}: {(done.stderr.strip().splitlines() or ['it failed'])[-1]}"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) > LAST_SDK:
        return f"{python}: its pyrealsense2 {version} no longer knows the T265, the last was 2.53.1"
    return ""


def find_python() -> str:
    """An interpreter whose librealsense knows the T265; raises DeviceError naming what was tried and how to get one."""
    named = os.environ.get(_VARIABLE)
    tried = [named] if named else [str(paths.root() / ".venv-t265/bin/python"), "python3.10"]
    reasons = []
    for python in tried:
        reason = _unfit(python)
        if not reason:
            return python
        reasons.append(reason)
    raise DeviceError(f"no Python interpreter can drive the T265: {'; '.join(reasons)}. {_REMEDY}")


class T265:
    """The tracker of one serial number.

    lost      poses that librealsense numbered and that never came
    restarts  how often the helper had to be started anew
    """

    def __init__(
        self, serial: str, *, latency: float = 0.0, patience: float = _PATIENCE, world: Path | None = None
    ) -> None:
        """`latency` [s] from a pose's moment to its arrival, at best; `world`: run-time directory of a virtual cell.

        Raises OwnershipError naming who has the tracker, DeviceError when it, or an interpreter for it, is not there.
        """
        self.serial, self.lost, self.restarts = serial, 0, 0
        self._latency_ns, self._patience = to_ns(latency), patience
        helper = Path(t265_helper.__file__)
        if world is None:
            self._command, self._environment = [find_python(), "-I", str(helper)], _environment()
        else:
            self._command, self._environment = [sys.executable, "-m", t265_helper.__name__], dict(os.environ)
        self._where = [] if world is None else [str(world)]
        self._helper: subprocess.Popen[bytes] | None = None
        self._claim = claim(f"t265-{serial}")
        try:
            self._start()
            while not self._ready:
                self._pump(_BOOT)
        except DeviceError:
            self.close()
            raise
        self._jumped = False  # the first world is as good as any

    def read(self, timeout: float) -> TrackedPose | None:
        """The next pose, waiting at most `timeout` [s]; None when none came.

        Raises DeviceError when the tracker is lost; the next call starts it anew.
        """
        if self._helper is None:
            self.restarts += 1
            self._start()
        until = time.monotonic() + timeout
        while (tracked := self._pump(until - time.monotonic())) is None and time.monotonic() < until:
            pass
        return tracked

    def close(self) -> None:
        self._end()
        self._claim.close()

    # -- the helper

    def _start(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._helper = subprocess.Popen(
                [*self._command, str(its.fileno()), self.serial, str(self._patience), *self._where],
                env=self._environment,
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._channel = ours
        self._ready, self._heard = False, time.monotonic()
        self._clock, self._jumped, self._last = DeviceClock(), True, 0

    def _end(self) -> int | None:
        """End the helper; returns its exit status if there was one."""
        helper, self._helper = self._helper, None
        if helper is None:
            return None
        self._channel.close()
        try:
            return helper.wait(_END)
        except subprocess.TimeoutExpired:
            helper.kill()
            return helper.wait()

    def _fail(self, why: str) -> DeviceError:
        self._end()
        return DeviceError(f"T265 {self.serial}: {why}")

    def _pump(self, timeout: float) -> TrackedPose | None:
        """Take one record, waiting at most `timeout` [s] for it; the pose, if it is one."""
        self._channel.settimeout(max(timeout, 1e-4))
        try:
            record = self._channel.recv(t265_helper.WORDS.size)
        except TimeoutError:
            allowed = _SILENCE if self._ready else self._patience + _BOOT
            if time.monotonic() - self._heard > allowed:
                raise self._fail(f"silent for more than {allowed:g} s; it is started anew") from None
            return None
        if not record:
            raise self._fail(f"its helper process ended with status {self._end()}; it is started anew")
        self._heard = time.monotonic()
        if record[0] == t265_helper.POSE:
            return self._pose(*t265_helper.RECORD.unpack(record)[1:])
        if record[0] == t265_helper.FAILED:
            raise self._fail(t265_helper.WORDS.unpack(record)[1].rstrip(b"\0").decode(errors="replace"))
        if record[0] == t265_helper.RELOCALISED:
            self._jumped = True
        self._ready = self._ready or record[0] == t265_helper.READY
        return None

    def _pose(
        self, confidence: int, mapper: int, _: int, number: int, frame_ns: int, monotonic_ns: int, *numbers: float
    ) -> TrackedPose:
        arrival_ns = now_ns() - (time.monotonic_ns() - monotonic_ns)
        stamp_ns = self._clock.to_kinema_ns(frame_ns, arrival_ns) - self._latency_ns
        self.lost += max(number - self._last - 1, 0) if self._last else 0
        self._last = number
        jumped, self._jumped = self._jumped, False
        return TrackedPose(stamp_ns, _to_pose(numbers), confidence, jumped)


def _to_pose(numbers: tuple[float, ...]) -> Pose:
    """Of x, y, z and a quaternion; not finite where these are no pose, so that whoever reads it finds it invalid."""
    position, quaternion = np.array(numbers[:3]), np.array(numbers[3:])
    if not abs(float(np.linalg.norm(quaternion)) - 1.0) < 1e-2:
        return Pose(position, np.full((3, 3), np.nan))
    return Pose.from_quaternion(position, quaternion)
