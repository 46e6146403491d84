"""A serial port of the virtual cell: a pty under a lasting name, as a udev rule gives one, that can be pulled out."""

import contextlib
import os
import pty
import tty
from pathlib import Path

_CHUNK = 4096  # [bytes]


class PtyPort:
    """The device's end of a serial port whose name in the file system is `link`."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self._device = self._host = -1
        self.plug()

    @property
    def plugged(self) -> bool:
        return self._device >= 0

    def plug(self) -> None:
        """Make the port appear; nothing if it is there."""
        if self.plugged:
            return
        self._device, self._host = pty.openpty()
        tty.setraw(self._host)
        os.set_blocking(self._device, False)
        draft = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        draft.symlink_to(os.ttyname(self._host))
        os.replace(draft, self.link)

    def unplug(self) -> None:
        """Pull it out: the name goes, and whoever has it open sees it go."""
        if not self.plugged:
            return
        self.link.unlink(missing_ok=True)
        os.close(self._host)
        os.close(self._device)
        self._device = self._host = -1

    def write(self, data: bytes) -> None:
        """Send; what nobody reads is lost, as on a wire."""
        if self.plugged:
            with contextlib.suppress(BlockingIOError):
                os.write(self._device, data)

    def read(self) -> bytes:
        """What the host has sent since."""
        if not self.plugged:
            return b""
        try:
            return os.read(self._device, _CHUNK)
        except BlockingIOError:
            return b""

    def fileno(self) -> int:
        """To wait on with `select`; only while plugged."""
        return self._device

    def close(self) -> None:
        self.unplug()
