"""Who is connected to a port: how many may be, for how long, and who goes when there is no room."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from uvicorn.server import ServerState

from producer_gateway.admission import RefusedError
from producer_gateway.connection import Connection, Phase
from producer_gateway.metrics import Metrics

_EVERY_S: Final = 1.0
_MAKE_ROOM: Final = 16
"""Where there is no room, a sixteenth goes at once: looking for it costs as much for one."""
_ASLEEP: Final = frozenset({Phase.SILENT, Phase.HEAD, Phase.IDLE, Phase.REST})
"""Nothing of ours is lost with these."""


class Patience(NamedTuple):
    """For how many seconds a connection may wait for its client."""

    head_s: float
    """For a whole head, for an answer to be taken, for the rest of a refused body, for the end."""
    idle_s: float
    """Between two requests."""
    body_s: float = 10.0
    """In which so many bytes of a body must come as the rate says."""
    body_bytes_per_s: int = 0
    """0: any rate will do."""

    def of(self, phase: Phase) -> float | None:
        """Return the seconds for a phase; None where it is we who are waited for."""
        if phase is Phase.IDLE:
            return self.idle_s
        if phase is Phase.BODY:
            return self.body_s if self.body_bytes_per_s else None
        return None if phase is Phase.ANSWER else self.head_s


class _Watched:
    """What a connection was waiting for when it was last looked at, and for how long by then."""

    __slots__ = ("age_s", "body_bytes", "state")

    def __init__(self, state: tuple[Phase, int]) -> None:
        self.begin(state, 0)

    def begin(self, state: tuple[Phase, int], body_bytes: int) -> None:
        """It waits for something else now."""
        self.state, self.body_bytes, self.age_s = state, body_bytes, 0.0


class Connections:
    """The connections of one port.

    Looking at all of them once a second costs a request nothing, where a timer for each of its
    steps would; a limit may be passed by two seconds for that.
    """

    def __init__(self, port: str, most: int, patience: Patience, metrics: Metrics) -> None:
        self.port = port
        self.most = most
        self._patience = patience
        self._closed = metrics.closed_connections
        self._state: ServerState | None = None
        self._watched = dict[Connection, _Watched]()
        self.coming = 0
        """Accepted, and not among the open ones yet."""
        self.on_second = list[Callable[[], None]]()
        """Called once a second, when those that waited too long have ended."""
        metrics.open_connections.labels(port).set_function(lambda: len(self.open()))
        metrics.max_connections.labels(port).set(most)

    def of(self, state: ServerState) -> None:
        """Look at the connections of this server."""
        self._state = state

    def open(self) -> list[Connection]:
        """Return all that are open."""
        found = self._state.connections if self._state is not None else ()
        return [connection for connection in found if isinstance(connection, Connection)]

    def room(self) -> bool:
        """Whether one more may come in; where there is none, make some.

        Strangers go first, then those whose last request had a valid token; the oldest first. Only
        those of which nothing is in hand.
        """
        held = len(self._state.connections) if self._state is not None else 0
        if held + self.coming < self.most:
            return True
        return self.make_room() > 0

    def make_room(self) -> int:
        """End some that may be ended; return how many."""
        asleep = [c for c in self.open() if c.phase in _ASLEEP]
        asleep.sort(key=lambda c: (c.remember(), c.serial))
        going = asleep[: max(1, self.most // _MAKE_ROOM)]
        for connection in going:
            self._end(connection, "no_room")
        return len(going)

    async def watch(self) -> None:
        """Look at all of them again and again, until cancelled."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(_EVERY_S)
            now = loop.time()
            # Who was frozen for a minute has not waited for a minute.
            self.look(min(now - before, 2 * _EVERY_S))
            before = now

    def look(self, passed_s: float) -> None:
        """End what has waited for too long; so many seconds have passed since it was last done."""
        watched, self._watched = self._watched, {}
        for connection in self.open():
            state = connection.phase, connection.requests
            seen = self._watched[connection] = watched.get(connection) or _Watched(state)
            connection.remember()
            if seen.state != state or self._moved(connection, seen):
                seen.begin(state, connection.body_bytes)
                continue
            seen.age_s += passed_s
            limit_s = self._patience.of(state[0])
            if limit_s is not None and seen.age_s >= limit_s:
                self._give_up(connection, state[0])
                seen.age_s = 0.0
        for call in self.on_second:
            call()

    def _moved(self, connection: Connection, seen: _Watched) -> bool:
        """Whether so much of a body has come that it may take another while."""
        if seen.state[0] is not Phase.BODY:
            return False
        needed = self._patience.body_s * self._patience.body_bytes_per_s
        return connection.body_bytes - seen.body_bytes >= needed

    def _give_up(self, connection: Connection, phase: Phase) -> None:
        if phase is Phase.BODY:
            connection.end_with(RefusedError(408, "slow_body", "the body arrives too slowly"))
        elif phase is Phase.HEAD:
            connection.end_with(RefusedError(408, "slow_head", "the head did not arrive in time"))
        else:
            self._end(connection, phase.value)

    def _end(self, connection: Connection, reason: str) -> None:
        self._closed.labels(self.port, reason).inc()
        connection.transport.abort()
