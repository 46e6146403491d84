"""Single keys from the terminal that the recorder was started in, by itself or by a launch."""

import os
import queue
import select
import termios
import threading
import tty
from pathlib import Path

_WAIT = 0.1  # [s]


class Keys:
    """Reads the terminal in a thread while open; silent where there is no terminal, or another job has it."""

    def __init__(self) -> None:
        self._pressed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._over = threading.Event()
        self._terminal: int | None = None
        found = open_terminal(os.O_RDONLY)
        if found is None:
            return
        self._terminal, self._owner = found
        self._before = termios.tcgetattr(self._terminal)
        tty.setcbreak(self._terminal, termios.TCSADRAIN)
        self._thread = threading.Thread(target=self._read, name="keys", daemon=True)
        self._thread.start()

    @property
    def there(self) -> bool:
        """Whether anybody can press a key."""
        return self._terminal is not None

    def pressed(self) -> list[str]:
        """The keys since this was last asked."""
        return [self._pressed.get() for _ in range(self._pressed.qsize())]

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._terminal is None:
            return
        self._over.set()
        self._thread.join()
        termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)
        os.close(self._terminal)
        self._terminal = None

    def _read(self) -> None:
        assert self._terminal is not None
        while not self._over.is_set():
            try:
                if not select.select([self._terminal], [], [], _WAIT)[0]:
                    continue
                if not _in_foreground(self._owner):  # stopped and sent to the background: keys are the shell's
                    self._over.wait(_WAIT)
                    continue
                read = os.read(self._terminal, 64)
            except OSError:  # the terminal has gone, or who launched this
                return
            if not read:
                return
            for key in read.decode(errors="ignore"):
                self._pressed.put(key)


def open_terminal(flags: int) -> tuple[int, int] | None:
    """A descriptor of the terminal at the standard input of this process or of the one that launched it; that one's id.

    A launch gives its children no terminal, so its own is asked for; only if it stands in the foreground, lest keys be
    taken from a shell.
    """
    for pid in (os.getpid(), os.getppid()):
        try:
            path = os.readlink(f"/proc/{pid}/fd/0")
            if _in_foreground(pid) and path.startswith(("/dev/pts/", "/dev/tty")):
                return os.open(path, flags | os.O_NOCTTY), pid
        except OSError:
            continue
    return None


def _in_foreground(pid: int) -> bool:
    # pid (command) state ppid pgrp session tty_nr tpgid ...; the command may hold spaces
    group, _, _, foreground = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[2:6]
    return group == foreground
