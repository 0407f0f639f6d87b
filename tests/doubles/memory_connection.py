"""A connection of the gateway without a socket: bytes in, bytes out, the application given."""

import asyncio
from collections.abc import Sequence
from typing import cast

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.server import ServerState

from producer_gateway.connection import Connection
from tests.clients.wire import Answer, answers

TURNS = 200
"""Of the event loop, in which everything in memory has happened."""
A_FEW = 8
"""In which a request has begun to wait for the rest of its body."""


class MemoryTransport:
    """Takes what is written, like a socket whose other side reads everything."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        """Take `data`; nothing is taken after the end."""
        assert not self.closed, f"written after the connection was closed: {data!r}"
        self.written += data

    def close(self) -> None:
        """End the connection."""
        self.closed = True

    def abort(self) -> None:
        """End it at once."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it has ended."""
        return self.closed

    def pause_reading(self) -> None:
        """What is sent is handed over all the same: a kernel has it already."""

    def resume_reading(self) -> None:
        """The same."""

    def get_extra_info(self, name: str) -> object:
        """Nobody is at the other side."""
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else None


class Line:
    """A connection to an application, in a running event loop.

    Args:
        app: answers the requests.
        state: of the server whose connection it is; one of its own unless given.
    """

    def __init__(self, app: ASGIApp, state: ServerState | None = None) -> None:
        config = Config(app, lifespan="off", log_config=None, ws="none", access_log=False)
        self.connection = Connection(config, state or ServerState(), {})
        self.transport = MemoryTransport()
        self.connection.connection_made(cast("asyncio.Transport", self.transport))

    async def send(self, data: bytes) -> None:
        """Hand a segment over, unless the connection has ended."""
        if not self.transport.closed:
            self.connection.data_received(data)
        await turned(A_FEW)

    def statuses(self) -> list[int]:
        """Of the answers so far."""
        return [answer.status for answer in answers(self.transport.written)]

    def ended(self) -> bool:
        """Whether the gateway has ended it."""
        return self.transport.closed

    async def lose(self) -> None:
        """End it, as the kernel would."""
        self.connection.connection_lost(None)
        await turned()


async def turned(turns: int = TURNS) -> None:
    """Return when nothing in memory has anything left to do, or after fewer turns than that."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Talk:
    """What the gateway made of some segments of bytes on one connection."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.answers: list[Answer] = answers(transport.written)
        self.statuses = [answer.status for answer in self.answers]
        self.closed = transport.closed
        self.written = transport.written


def talk(
    app: ASGIApp,
    segments: Sequence[bytes],
    *,
    ends: bool = False,
    at_once: bool = False,
) -> Talk:
    """Send segments on one connection and return what came back.

    Args:
        app: answers the requests.
        segments: as the kernel would hand them over.
        ends: the client then ends its side and goes on listening.
        at_once: all that, before anything is answered.
    """

    async def converse() -> Talk:
        line = Line(app)
        connection, transport = line.connection, line.transport
        for segment in segments:
            if not transport.closed:
                connection.data_received(segment)
            if not at_once:
                await turned(A_FEW)
        if ends and not transport.closed and not connection.eof_received():
            transport.close()
        await turned()
        said = Talk(transport)
        await line.lose()
        return said

    return asyncio.run(converse())
