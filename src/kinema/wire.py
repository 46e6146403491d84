"""Packets between processes of one machine: Unix SOCK_SEQPACKET sockets with one owner, values as msgpack.

A server has one owner at a time. Whoever comes second is refused with an answer that names the owner (FAULTS F21);
the end of the owner's connection is noticed with the next `receive`. Nothing here blocks unless asked to wait.
"""

import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kinema.errors import DeviceError, OwnershipError

MAX_PACKET = 65536  # [bytes]; a chunk of 32 steps takes 5 kB


class LinkLostError(DeviceError):
    """The other end of a connection has gone."""


# ---- values


def _array_out(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.shape, np.ascontiguousarray(value, np.float64).tobytes()
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise NotImplementedError(f"a {type(value).__name__} cannot be sent")


def _array_in(kind: type, value: Any) -> Any:
    shape, numbers = value
    return np.frombuffer(numbers, np.float64).reshape(shape).copy()


class Codec:
    """Values of a closed set of dataclasses to packets and back. `plain` types carry untyped data, whose arrays become
    lists; the other types' arrays come back as float64 arrays of the same shape."""

    def __init__(self, *types: type, plain: tuple[type, ...] = ()) -> None:
        typed, untyped = msgspec.msgpack.Encoder(enc_hook=_array_out), msgspec.msgpack.Encoder(enc_hook=_plain)
        self._encoders = {kind: untyped if kind in plain else typed for kind in (*types, *plain)}
        self._decoders: dict[str, msgspec.msgpack.Decoder[Any]] = {
            kind.__name__: msgspec.msgpack.Decoder(kind, dec_hook=_array_in) for kind in self._encoders
        }
        self._envelope = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])

    def encode(self, value: Any) -> bytes:
        """One packet; raises DeviceError for a type outside the set, or a packet above MAX_PACKET."""
        encoder = self._encoders.get(type(value))
        if encoder is None:
            raise DeviceError(f"a {type(value).__name__} is not sent here; allowed: {', '.join(self._decoders)}")
        try:
            packet = encoder.encode((type(value).__name__, value))
        except (NotImplementedError, TypeError, OverflowError) as error:
            raise DeviceError(f"{type(value).__name__}: {error}") from error
        if len(packet) > MAX_PACKET:
            raise DeviceError(f"{type(value).__name__} takes {len(packet)} bytes, allowed are {MAX_PACKET}")
        return packet

    def decode(self, packet: bytes) -> Any:
        """The value of a packet; raises DeviceError for whatever is not one of the set."""
        try:
            name, body = self._envelope.decode(packet)
            decoder = self._decoders.get(name)
            if decoder is None:
                raise DeviceError(f"a {name!r} is not understood here; allowed: {', '.join(self._decoders)}")
            return decoder.decode(body)
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise DeviceError(f"a malformed packet of {len(packet)} bytes: {error}") from error


# ---- sockets


@dataclass(frozen=True, slots=True)
class Welcome:
    """The server's first packet to its owner; `facts` are what it says of itself."""

    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """The server's only packet to anybody else."""

    reason: str


_GREETING = Codec(Welcome, Refused)


def _peer(connection: socket.socket) -> tuple[int, str]:
    """Process id and name of the other end, from the kernel and not from what it says of itself."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid = struct.unpack("3i", credentials)[0]
    return pid, program(pid)


def program(pid: int) -> str:
    """What a process runs: the module or script of an interpreter's command line; else the program itself."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return "a process that has ended"
    return Path(_program(words)).name


def _program(words: list[str]) -> str:
    rest = iter(words[1:])
    for word in rest:
        if word == "-m":
            return next(rest, words[0])
        if not word.startswith("-"):
            return word
    return words[0]


class Link:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self.pid, self.name = _peer(connection)
        self.facts: dict[str, Any] = {}

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def hung_up(self) -> bool:
        """Whether the other end has gone, packets that it left behind notwithstanding."""
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in self._poll.poll(0))

    def send(self, packet: bytes | np.ndarray) -> bool:
        """Send a packet without waiting; False when it was dropped because the other end does not read.

        Raises LinkLostError when the other end has gone.
        """
        try:
            self._socket.send(packet)  # type: ignore[arg-type]
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            raise LinkLostError(f"{self.name} (process {self.pid}) has gone: {error.strerror}") from error

    def receive(self, timeout: float = 0.0) -> bytes | None:
        """The next packet, waiting at most `timeout` [s]; None when none came. Raises LinkLostError at the end."""
        if timeout > 0 and not self._poll.poll(max(1, round(timeout * 1e3))):
            return None
        try:
            packet = self._socket.recv(MAX_PACKET)
        except BlockingIOError:
            return None
        except OSError as error:
            raise LinkLostError(f"{self.name} (process {self.pid}) has gone: {error.strerror}") from error
        if not packet:
            raise LinkLostError(f"{self.name} (process {self.pid}) has closed the connection")
        return packet

    def close(self) -> None:
        self._socket.close()


def _lock(path: Path) -> int:
    """Hold the lock file of a server until the process ends; the file names the process."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                os.ftruncate(file, 0)
                os.write(file, str(os.getpid()).encode())
                return file
        except BlockingIOError:
            pid = os.pread(file, 32, 0).decode()
            os.close(file)
            raise OwnershipError(f"{path.with_suffix('')} is served by process {pid} already") from None
        except FileNotFoundError:
            pass  # removed by its last holder between open and flock
        os.close(file)


class Server:
    """A socket with one owner. `losses` counts owners that have gone, so that nobody misses one."""

    def __init__(self, path: Path, facts: dict[str, Any] | None = None) -> None:
        self.path, self.facts, self.losses = path, facts or {}, 0
        self.owner: Link | None = None
        self._lock_path = path.with_name(path.name + ".lock")
        self._lock = _lock(self._lock_path)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._visitors = select.poll()
        self._visitors.register(self._listener, select.POLLIN)

    def _welcome(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        if self.owner is not None and self.owner.hung_up:
            self.drop()
        newcomer = Link(connection)
        try:
            if self.owner is None:
                newcomer.send(_GREETING.encode(Welcome(self.facts)))
                self.owner = newcomer
                return
            reason = f"{self.path.name} belongs to {self.owner.name} (process {self.owner.pid}); it has to end first"
            newcomer.send(_GREETING.encode(Refused(reason)))
        except LinkLostError:
            pass  # came and went
        newcomer.close()

    def ends(self) -> list[int]:
        """The file descriptors at which something may arrive."""
        return [self._listener.fileno(), *([] if self.owner is None else [self.owner.fileno()])]

    def drop(self) -> None:
        """End the owner's connection, if there is one."""
        if self.owner is not None:
            self.owner.close()
            self.owner = None
            self.losses += 1

    def receive(self, timeout: float = 0.0) -> bytes | None:
        """The owner's next packet, waiting at most `timeout` [s] for it, or for an owner; None when none came."""
        if self.owner is None and timeout > 0:
            self._visitors.poll(max(1, round(timeout * 1e3)))
        self._welcome()
        if self.owner is None:
            return None
        try:
            return self.owner.receive(timeout)
        except LinkLostError:
            self.drop()
            return None

    def send(self, packet: bytes | np.ndarray) -> bool:
        """Send to the owner without waiting; False when the packet was dropped."""
        if self.owner is None:
            return False
        try:
            return self.owner.send(packet)
        except LinkLostError:
            return False  # counted by the next `receive`, after what the owner left behind

    def close(self) -> None:
        self.drop()
        self._listener.close()
        self.path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)
        os.close(self._lock)


def ready(servers: Iterable[Server]) -> list[Server]:
    """Those at which a packet, somebody new or an end waits, by one system call."""
    owners = {end: server for server in servers for end in server.ends()}
    return list(dict.fromkeys(owners[end] for end in select.select(owners, [], [], 0)[0]))


def connect(path: Path, timeout: float = 1.0) -> Link:
    """Become the owner of a server; its facts are in the link's.

    Raises OwnershipError naming the present owner, DeviceError when nobody serves there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(str(path))
        link = Link(connection)
    except OSError as error:
        connection.close()
        raise DeviceError(f"{path}: nobody serves there ({error.strerror}); start the process that does") from error
    try:
        packet = link.receive(timeout)
        if packet is None:
            raise DeviceError(f"{path}: {link.name} (process {link.pid}) did not answer within {timeout} s")
        greeting = _GREETING.decode(packet)
        if isinstance(greeting, Refused):
            raise OwnershipError(greeting.reason)
    except DeviceError:
        link.close()
        raise
    link.facts = greeting.facts
    return link
