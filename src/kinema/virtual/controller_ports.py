"""The TCP ports of a virtual controller: one thread, no waiting; what a client does not read in time it loses.

A port hands whole messages to its protocol and knows nothing of them.
"""

import select
import socket
from collections.abc import Callable

from kinema.errors import DeviceError

_CHUNK = 65536  # [bytes]


class Connection:
    """One client of a port; `data` holds what it sent and nobody has understood yet."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self.data = b""
        self.open = True

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def receive(self) -> bool:
        """Take what has arrived into `data`; whether there was anything."""
        try:
            arrived = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            arrived = b""
        if not arrived:
            self.close()
        self.data += arrived
        return bool(arrived)

    def send(self, message: bytes) -> None:
        """Send a whole message; a client that does not read is cut off, as a controller does."""
        try:
            if self.open and self._socket.send(message) == len(message):
                return
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        """End the connection. What was written arrives; a half-open one is ended with a reset."""
        if self.open:
            self.open = False
            self._socket.close()


class Port:
    """A listening port with any number of clients.

    welcome  is called with every new client; `hear` with a client whose `data` has grown: it takes off what it
             understands; `leave` with one that has gone
    """

    def __init__(
        self,
        address: str,
        number: int,
        hear: Callable[[Connection], None],
        welcome: Callable[[Connection], None] = lambda client: None,
        leave: Callable[[Connection], None] = lambda client: None,
    ) -> None:
        """Raises DeviceError when the port is taken."""
        self._hear, self._welcome, self._leave = hear, welcome, leave
        self._clients: dict[int, Connection] = {}  # by their file descriptors
        try:
            self._listener = socket.create_server((address, number), backlog=8)
        except OSError as error:
            raise DeviceError(
                f"{address}:{number} cannot be served ({error.strerror}); take another address"
            ) from error
        self._listener.setblocking(False)
        self._events = select.epoll()
        self._events.register(self._listener, select.EPOLLIN)

    @property
    def clients(self) -> list[Connection]:
        return list(self._clients.values())

    def fileno(self) -> int:
        """Of the listener, for `select`."""
        return self._listener.fileno()

    def poll(self) -> None:
        """Serve what has arrived since the last call."""
        for number, _ in self._events.poll(0):
            if number == self._listener.fileno():
                self._accept()
            elif (client := self._clients[number]).open and client.receive():
                self._hear(client)
        self._sweep()

    def _accept(self) -> None:
        try:
            client = Connection(self._listener.accept()[0])
        except BlockingIOError:  # it has given up meanwhile
            return
        self._clients[client.fileno()] = client
        self._events.register(client, select.EPOLLIN)
        self._welcome(client)

    def cut(self) -> None:
        """End every connection; the port goes on listening."""
        for client in self._clients.values():
            client.close()
        self._sweep()

    def _sweep(self) -> None:
        """Forget who has gone, before another client gets its number; a closed socket is no longer polled."""
        for number, client in [entry for entry in self._clients.items() if not entry[1].open]:
            del self._clients[number]
            self._leave(client)

    def close(self) -> None:
        self.cut()
        self._events.close()
        self._listener.close()
