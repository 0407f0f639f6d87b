"""Relays before a broker: it has lost its groups to another one, or is slow to end transactions."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from demo.relay import Connection, serve

OFFSET_FETCH: Final = 9
INIT_PRODUCER: Final = 22
END_TRANSACTION: Final = 26
TIMEOUT_REFUSED: Final = 50
ERROR_OF_INIT: Final = 13
"""Where the error stands in the answer to a new producer."""
NOT_COORDINATOR: Final = 16
REFUSED: Final = 2
"""How many questions for a group's offsets each connection refuses before it answers them."""
HELD_SECONDS: Final = 3.0
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


class SlowEnd(Connection):
    """Holds each request to end a transaction for `HELD_SECONDS`."""

    def asked(self, key: int, frame: bytes) -> None:
        """Hold it."""
        super().asked(key, frame)
        if key == END_TRANSACTION:
            time.sleep(HELD_SECONDS)


class ShortTransactions(SlowEnd):
    """Takes besides no producer whose transactions may take longer, as a broker may: `made`."""

    longest_ms = 0
    refused: list[int]
    quick: threading.Event

    @classmethod
    def made(cls, longest_ms: int) -> type["ShortTransactions"]:
        """A kind with its own `refused`, in milliseconds; it holds until its `quick` is set."""
        own = {"longest_ms": longest_ms, "refused": [], "quick": threading.Event()}
        return type(cls.__name__, (cls,), own)

    def __init__(self, client: socket.socket, port: int, inner: int, pause_seconds: float) -> None:
        super().__init__(client, port, inner, pause_seconds)
        self._refuse = set[bytes]()

    def asked(self, key: int, frame: bytes) -> None:
        """Hold the end of a transaction; remember which producer is to be refused."""
        if key == INIT_PRODUCER and (timeout_ms := asked_timeout_ms(frame)) > self.longest_ms:
            self.refused.append(timeout_ms)
            self._refuse.add(frame[8:12])
        if key != END_TRANSACTION or not self.quick.is_set():
            super().asked(key, frame)

    def answered(self, frame: bytes) -> bytes:
        """The answer, or the refusal in its place."""
        if frame[4:8] not in self._refuse:
            return super().answered(frame)
        error = struct.pack(">h", TIMEOUT_REFUSED)
        return frame[:ERROR_OF_INIT] + error + frame[ERROR_OF_INIT + len(error) :]


def asked_timeout_ms(frame: bytes) -> int:
    """How long the transactions of a new producer may take, milliseconds.

    Args:
        frame: its request, of a version that has compact texts (2 and later).
    """
    (client,) = struct.unpack_from(">h", frame, 12)
    at = 14 + client + 1
    transactional = frame[at] - 1  # one byte for less than 127
    (timeout_ms,) = struct.unpack_from(">i", frame, at + 1 + transactional)
    return int(timeout_ms)


@contextmanager
def hindered(bootstrap: str, kind: type[Connection]) -> Iterator[str]:
    """The address of such a relay, for as long as the block.

    Args:
        bootstrap: 127.0.0.1:PORT of the broker.
        kind: what the relay makes of each connection.
    """
    inner = int(bootstrap.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=serve, args=(listener, inner, 0.0, kind), daemon=True).start()
        yield f"127.0.0.1:{port}"
        listener.shutdown(socket.SHUT_RDWR)
