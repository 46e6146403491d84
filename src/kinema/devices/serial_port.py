"""A serial port that one process has for itself, through pyserial."""

import errno
import select
from pathlib import Path

import serial

from kinema.devices.ownership import owner_of
from kinema.errors import DeviceError, OwnershipError

_CHUNK = 4096  # [bytes] read at once; what the kernel keeps of a terminal
_WRITE_TIMEOUT = 0.5  # [s]

_REMEDIES = {
    errno.ENOENT: "plug it in; its udev rule makes the name (firmware/60-kinema-devices.rules)",
    errno.EACCES: "join the group that owns it (dialout on Debian), or install firmware/60-kinema-devices.rules",
}


class SerialPort:
    """Bytes in and out. Raises OwnershipError naming who has the port, DeviceError where there is none."""

    def __init__(self, path: Path, baud: int) -> None:
        self.path = path
        try:
            self._port = serial.Serial(str(path), baud, timeout=0, write_timeout=_WRITE_TIMEOUT, exclusive=True)
        except serial.SerialException as error:
            if error.errno == errno.EAGAIN:
                raise OwnershipError(f"{path} belongs to {owner_of(path)}; it has to end first") from None
            remedy = _REMEDIES.get(error.errno or 0, "look after its cable")
            raise DeviceError(f"{path} cannot be opened ({error.strerror or error}); {remedy}") from error
        except OSError as error:  # pulled out while it was opened
            raise DeviceError(f"{path} cannot be opened ({error.strerror}); look after its cable") from error
        self._port.reset_input_buffer()

    def read(self, timeout: float) -> bytes:
        """What has come, waiting at most `timeout` [s] for something. Raises DeviceError when the port has gone."""
        try:
            if not select.select([self._port.fileno()], [], [], max(timeout, 0.0))[0]:
                return b""
            return bytes(self._port.read(_CHUNK))
        except (serial.SerialException, OSError) as error:
            raise DeviceError(f"{self.path} has gone ({error}); look after its cable") from error

    def write(self, data: bytes) -> None:
        """Raises DeviceError when the port has gone or takes nothing."""
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise DeviceError(f"{self.path} takes nothing ({error}); look after its cable") from error

    def close(self) -> None:
        self._port.close()
