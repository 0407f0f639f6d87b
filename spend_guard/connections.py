"""Who is connected: how many may be, for how long without a whole request, and who goes first.

It costs files before any token is checked. uvicorn ends a connection that rests behind an answer;
one that has sent nothing, or a part of a request, it keeps without end, and any number of them.
"""

import asyncio
import resource
from typing import Any, Final

import structlog
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from spend_guard import metrics

_LOG: Final = structlog.get_logger("spend_guard")
_EVERY_S: Final = 0.5
_MAKE_ROOM: Final = 16
"""Where there is no room, a sixteenth goes at once: looking for it costs as much for one."""
_NOT_OURS: Final = 128
"""Files for what is no connection of the plugin: PostgreSQL, probes, the log."""


class Connections:
    """The connections of one port: at most `most`, each with `seconds` for a whole request."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._open = dict[Connection, None]()
        """The oldest first."""
        metrics.CONNECTIONS_OPEN.set_function(lambda: len(self._open))
        metrics.CONNECTIONS_MOST.set(most)

    def protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> "Connection":
        """Return what reads a new connection; uvicorn takes it for the class of that."""
        return Connection(self, config, server_state, app_state, _loop)

    def add(self, one: "Connection") -> None:
        """Take one that has come; where there is no room, end some of which nothing is in hand.

        Strangers go first, then those that had an answer; the oldest first. Where something is in
        hand of every one, the new one goes.
        """
        if len(self._open) >= self._most:
            resting = [other for other in self._open if other.rests]
            resting.sort(key=lambda other: other.known)
            for other in resting[: max(1, self._most // _MAKE_ROOM)] or [one]:
                self._end(other, "no_room")
        if not one.transport.is_closing():
            self._open[one] = None

    def remove(self, one: "Connection") -> None:
        """Forget one that has ended."""
        self._open.pop(one, None)

    def look(self, now: float) -> None:
        """End those whose request did not come in time."""
        for one in list(self._open):
            if one.rests and one.begun_at is not None and now - one.begun_at >= self._seconds:
                self._end(one, "slow" if one.received else "silent")

    async def watch(self) -> None:
        """Look at all of them again and again, until cancelled.

        That costs a request nothing, where a timer for each would.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_EVERY_S)
            self.look(loop.time())

    def _end(self, one: "Connection", reason: str) -> None:
        metrics.CONNECTIONS_CLOSED.labels(reason).inc()
        self.remove(one)
        one.transport.abort()


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, which knows since when it waits for the rest of a request."""

    def __init__(self, connections: Connections, *of_uvicorn: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*of_uvicorn)
        self._connections = connections
        self.begun_at: float | None = None
        """When the request began that is not whole yet; the first begins with the connection."""
        self.received = False
        self.known = False
        """A request of it had a valid token: behind the answer to one without, it ends."""
        self._in_hand = 0
        """Requests that are whole and not answered."""

    @property
    def rests(self) -> bool:
        """Whether nothing of it is in hand."""
        return self._in_hand == 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or end at once where there is no room."""
        super().connection_made(transport)
        self.begun_at = self.loop.time()
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came. Behind any byte uvicorn no longer counts how long it rests."""
        self.received = True
        if self.begun_at is None and self.rests:
            self.begun_at = self.loop.time()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        if self.begun_at is None:
            self.begun_at = self.loop.time()

    def on_message_complete(self) -> None:
        """End it: its body is there."""
        self.begun_at = None
        self._in_hand += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin what waits behind it: until now, that was not read on."""
        self.known, self._in_hand = True, max(0, self._in_hand - 1)
        if self.begun_at is not None:
            self.begun_at = self.loop.time()
        super().on_response_complete()


def room(wanted: int) -> int:
    """Return how many connections there may be: as many as leave the process its own files.

    Raises the process's soft limit of files to its hard one, and says where that is too low.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        hard = soft
    if hard == resource.RLIM_INFINITY:
        return wanted
    most = max(1, min(wanted, hard - min(_NOT_OURS, hard // 2)))
    if most < wanted:
        _LOG.warning("too few files for SPEND_GUARD_MAX_CONNECTIONS", files=hard, most=most)
    return most
