"""What stands before the embedded broker, so that whoever waits for records does not ask all day.

A broker answers a fetch without records after the time that the client is ready to wait. This one
answers at once: a consumer with nothing to do, and the broker, would keep a processor busy with
questions. So each connection gets one fetch through in a while; all else passes at once.

A script of its own (`python -I relay.py PORT INNER BINARY ARGUMENT...`), quick to begin, that turns
into the broker: signals and the exit code are the broker's, and its end is the relay's.
"""

import ctypes
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

LOOPBACK: Final = "127.0.0.1"
FETCH_PAUSE_SECONDS: Final = 0.02
"""Far below what a client notices; a fetch brings megabytes."""
_FETCH: Final = 1
_TELL_ADDRESSES: Final = frozenset({3, 10, 60})
"""Kafka's keys of the requests that are answered with where a broker is."""
_SHORTEST: Final = 4
"""Every frame has at least its number."""
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_LOOK_SECONDS: Final = 0.5


class Connection:
    """One client's connection, and ours to the broker; ends when either does.

    Args:
        client: as accepted.
        port: where clients reach this relay.
        inner: where the broker listens, and what it tells clients.
        pause_seconds: the least time from one fetch to the next.
    """

    def __init__(self, client: socket.socket, port: int, inner: int, pause_seconds: float) -> None:
        self._client = client
        self._broker = socket.create_connection((LOOPBACK, inner))
        self._pause, self._allowed = pause_seconds, 0.0
        self._theirs, self._ours = (LOOPBACK.encode() + struct.pack(">i", n) for n in (inner, port))
        self._tell = set[bytes]()
        for part in (client, self._broker):
            part.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def serve(self) -> None:
        """Pass frames in both directions, until the end of the connection."""
        back = threading.Thread(target=self._guarded, args=(self._answers,), daemon=True)
        back.start()
        self._guarded(self._requests)
        back.join()
        self._client.close()
        self._broker.close()

    def _guarded(self, pass_on: Callable[[], None]) -> None:
        try:
            pass_on()
        except OSError:
            pass  # one side went away: so does the other
        finally:
            for part in (self._client, self._broker):
                try:
                    part.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it was not connected any more

    def _requests(self) -> None:
        while frame := _frame(self._client):
            (key,) = struct.unpack_from(">h", frame, 4)
            self.asked(key, frame)
            self._broker.sendall(frame)

    def _answers(self) -> None:
        while frame := _frame(self._broker):
            self._client.sendall(self.answered(frame))

    def asked(self, key: int, frame: bytes) -> None:
        """Look at a request, and hold it where it comes too early, before it is passed on.

        `key` says what it asks for; `frame` is the whole of it, its size in front.
        """
        if key == _FETCH:
            time.sleep(max(self._allowed - time.monotonic(), 0))
            self._allowed = time.monotonic() + self._pause
        elif key in _TELL_ADDRESSES:
            self._tell.add(frame[8:12])

    def answered(self, frame: bytes) -> bytes:
        """Return an answer as the client is to get it, its size in front."""
        number = frame[4:8]
        if number not in self._tell:
            return frame
        self._tell.discard(number)
        return frame.replace(self._theirs, self._ours)


def serve(
    listener: socket.socket,
    inner: int,
    pause_seconds: float = FETCH_PAUSE_SECONDS,
    kind: type[Connection] = Connection,
) -> None:
    """Take connections for the broker on the loopback port `inner`, until `listener` closes.

    `kind` makes of each what passes through it.
    """
    port = listener.getsockname()[1]

    def take(client: socket.socket) -> None:
        try:
            connection = kind(client, port, inner, pause_seconds)
        except OSError:
            return client.close()  # the broker is not there: as if nobody listened
        return connection.serve()

    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=take, args=(client,), daemon=True).start()


def _frame(source: socket.socket) -> bytes:
    """Read a request or an answer with its size before it; nothing at the end of the connection.

    Raises `ConnectionError` for what is no frame of Kafka's.
    """
    size = _exactly(source, 4)
    if not size:
        return b""
    (length,) = struct.unpack(">i", size)
    if length < _SHORTEST:
        raise ConnectionError(f"a frame of {length} bytes")
    content = _exactly(source, length)
    return size + content if content else b""


def _exactly(source: socket.socket, size: int) -> bytes:
    parts, left = list[bytes](), size
    while left > 0:
        part = source.recv(min(left, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _end_with(parent: int) -> None:
    """End this process when `parent` does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        os._exit(0)

    threading.Thread(target=look, daemon=True).start()


def main(port: str, inner: str, *command: str) -> None:
    """Fork: the child relays, and this process becomes the broker."""
    with socket.create_server((LOOPBACK, int(port)), backlog=128) as listener:
        parent = os.getpid()
        if os.fork():
            os.execv(command[0], command)  # noqa: S606 - the purpose; closes the listener here
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _end_with(parent)
        serve(listener, int(inner))


if __name__ == "__main__":
    main(*sys.argv[1:])
