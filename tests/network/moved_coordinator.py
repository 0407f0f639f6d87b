"""A relay before a broker that has always just lost its groups to another coordinator."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from demo.relay import Connection, serve

OFFSET_FETCH: Final = 9
NOT_COORDINATOR: Final = 16
REFUSED: Final = 2
"""How many questions for a group's offsets each connection refuses before it answers them."""
TAGS: Final = dict.fromkeys(range(6), 0) | {6: 1, 7: 1, 8: 2, 9: 2, 10: 2}
"""The bytes after the error of the whole answer, which is its last field, by version."""


class Refusing(Connection):
    """Answers the first questions for a group's offsets with NOT_COORDINATOR."""

    def __init__(self, client: socket.socket, port: int, inner: int, pause_seconds: float) -> None:
        super().__init__(client, port, inner, pause_seconds)
        self._left = REFUSED
        self._versions = dict[bytes, int]()

    def asked(self, key: int, frame: bytes) -> None:
        """Remember which requests are to be refused."""
        super().asked(key, frame)
        if key == OFFSET_FETCH and self._left:
            self._left -= 1
            (self._versions[frame[8:12]],) = struct.unpack_from(">h", frame, 6)

    def answered(self, frame: bytes) -> bytes:
        """The answer, or the refusal in its place."""
        version = self._versions.pop(frame[4:8], None)
        if version is None:
            return super().answered(frame)
        end = len(frame) - TAGS[version]
        return frame[: end - 2] + struct.pack(">h", NOT_COORDINATOR) + frame[end:]


@contextmanager
def moved_coordinator(bootstrap: str) -> Iterator[str]:
    """The address of such a relay, for as long as the block.

    Args:
        bootstrap: 127.0.0.1:PORT of the broker.
    """
    inner = int(bootstrap.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=serve, args=(listener, inner, 0.0, Refusing), daemon=True).start()
        yield f"127.0.0.1:{port}"
        listener.shutdown(socket.SHUT_RDWR)
