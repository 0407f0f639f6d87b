"""HTTP/1.1 as bytes on a socket: requests that no client library would send, and every answer."""

import re
import socket
from typing import NamedTuple

from tests.waiting import Stopwatch

CHUNK = 65_536
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Answer(NamedTuple):
    """One answer."""

    status: int
    body: bytes


class Conversation(NamedTuple):
    """The answers to what was sent, and whether the server then closed the connection."""

    answers: list[Answer]
    closed: bool


class HangError(AssertionError):
    """Neither all answers nor the end of the connection came in time."""


def converse(port: int, sent: bytes, wanted: int, *, ends: bool, seconds: float) -> Conversation:
    """Send bytes to 127.0.0.1 and collect answers.

    Args:
        port: of the server.
        sent: as they are.
        wanted: returns when so many answers are there, or the server closed.
        ends: says to the server that nothing more will come (a half-closed connection).
        seconds: for the whole.

    Raises:
        HangError: with what was answered until then.
    """
    received, watch = b"", Stopwatch()
    with socket.create_connection(("127.0.0.1", port), seconds) as connection:
        try:
            connection.sendall(sent)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it answered, and closed, before all was sent; the answer can still be read
        while len(found := answers(received)) < wanted:
            connection.settimeout(max(0.001, seconds - watch.seconds()))
            try:
                data = connection.recv(CHUNK)
            except TimeoutError:
                if watch.seconds() < seconds:
                    continue
                raise HangError(f"{found} after {seconds:g} s of {sent[:300]!r}") from None
            except ConnectionError:
                return Conversation(found, closed=True)
            if not data:
                return Conversation(found, closed=True)
            received += data
    return Conversation(found, closed=False)


def answers(received: bytes) -> list[Answer]:
    """The whole answers at the beginning of what was received."""
    found = list[Answer]()
    while True:
        head, end, rest = received.partition(b"\r\n\r\n")
        if not end:
            return found
        status = int(head.split(b" ", 2)[1])
        length = LENGTH.search(head + b"\r\n")
        if status == 100:
            received = rest
            continue
        size = int(length[1]) if length else len(rest)
        if len(rest) < size:
            return found
        found.append(Answer(status, rest[:size]))
        received = rest[size:]
