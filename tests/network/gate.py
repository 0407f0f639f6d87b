"""A door in front of a TCP server that a test can shut: everything through it is cut off."""

import contextlib
import socket
import threading

from tests.processes.process import free_port

CHUNK = 65_536


class Gate:
    """Forwards connections to a server on 127.0.0.1 until it is shut.

    `behind` is the server's port; another one counts for connections that come after.

    Args:
        port: of the server behind it.
    """

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.behind = port
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._door: socket.socket | None = None
        self.open()

    def open(self) -> None:
        """Take connections, on the same port as before."""
        door = socket.create_server(("127.0.0.1", self.port))
        self._door = door
        threading.Thread(target=self._accept, args=(door,), daemon=True).start()

    def shut(self) -> None:
        """Refuse new connections and end those that are there."""
        door, self._door = self._door, None
        if door is not None:
            # Closing alone would not wake the thread that waits in accept.
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            door.close()
        with self._lock:
            ended, self._open = self._open, []
        for connection in ended:
            _end(connection)

    def _accept(self, door: socket.socket) -> None:
        while True:
            try:
                inside, _ = door.accept()
            except OSError:
                return
            try:
                outside = socket.create_connection(("127.0.0.1", self.behind), 5)
            except OSError:
                _end(inside)
                continue
            with self._lock:
                self._open += [inside, outside]
            for source, sink in ((inside, outside), (outside, inside)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        source.settimeout(None)
        while data := source.recv(CHUNK):
            sink.sendall(data)
    _end(source)
    _end(sink)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
