"""A port that is listened on: takes connections as long as there is room, and says when it cannot.

The event loop's own way to accept hides it when the process has no descriptors left: it closes what
comes, on every port, and says nothing.
"""

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Callable
from typing import Final

import structlog

from producer_gateway.connections import Connections
from producer_gateway.metrics import Metrics
from runtime.logs import OnceAMinute

_LOG: Final = structlog.get_logger(__name__)
_AT_ONCE: Final = 64
"""Connections that are accepted before others get their turn."""
_SOON_S: Final = 0.02
_BACKLOG: Final = 2048
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_GONE: Final = frozenset({
    errno.EAGAIN,
    errno.EINTR,
    errno.ECONNABORTED,
    errno.EPROTO,
    errno.EPERM,
})  # fmt: skip
_NOT_OURS: Final = 128
"""Descriptors for what is no caller of the callbacks port: Kafka, the spool, probes, the log."""


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit of descriptors to the hard one; return what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        _LOG.warning("descriptor_limit_stays", soft=soft, hard=hard, detail=str(error))
        return soft
    return hard


def room_for_callers(wanted: int, descriptors: int) -> int:
    """Return how many callers may be connected: no more than leaves the process its own."""
    if descriptors < 0:  # no limit
        return wanted
    return max(1, min(wanted, descriptors - min(_NOT_OURS, descriptors // 2)))


class Reserve:
    """Descriptors that are held for the moment in which there are no others."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._held = list[int]()
        self.fill()

    def spend(self) -> bool:
        """Free one for what comes next; false where none is left."""
        if not self._held:
            return False
        os.close(self._held.pop())
        return True

    def fill(self) -> OSError | None:
        """Take back what was spent; return why that cannot be done."""
        while len(self._held) < self._count:
            try:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            except OSError as error:
                return error
        return None

    def close(self) -> None:
        """Free all of them."""
        self._count = 0
        while self.spend():
            pass


class Listener:
    """Accepts on one socket, in place of the event loop's server.

    One that `spends` takes a descriptor of the reserve where there are no others. Any other one
    accepts nothing while the reserve lacks one: else whoever is many takes each that becomes free,
    and those for whom the reserve is there wait for as long.
    """

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        protocol: Callable[[], asyncio.Protocol],
        metrics: Metrics,
        reserve: Reserve | None = None,
        *,
        spends: bool = True,
    ) -> None:
        """Begin to accept; `listening` belongs to this object from now on."""
        self.sockets = (listening,)
        self._socket = listening
        self._connections = connections
        self._protocol = protocol
        self._reserve = reserve
        self._spends = spends
        self._exhausted = metrics.descriptors_exhausted.labels(connections.port)
        self._say = OnceAMinute()
        self._loop = asyncio.get_running_loop()
        self._arriving = set[asyncio.Task[object]]()
        self._reading = False
        self._closed = False
        connections.on_second.append(self._go_on)
        self._go_on()

    def close(self) -> None:
        """Accept no more."""
        self._closed = True
        self._connections.on_second.remove(self._go_on)
        self._pause()
        self._socket.close()

    async def wait_closed(self) -> None:
        """Return when all that was accepted has arrived."""
        if self._arriving:
            await asyncio.wait(self._arriving)

    def _go_on(self) -> None:
        """Accept again; a second is over, or this is the beginning."""
        if self._spends and self._reserve is not None and (error := self._reserve.fill()):
            self._failed(error)
        self._resume()

    def _resume(self) -> None:
        if not self._reading and not self._closed:
            self._reading = True
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _pause(self) -> None:
        """Let them wait in the kernel until the next second."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket.fileno())

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._connections.room():
                # Those that were just ended, or accepted, have not gone, or come, yet.
                self._pause()
                self._loop.call_later(_SOON_S, self._resume)
                return
            if not self._spends and self._reserve is not None and (lacks := self._reserve.fill()):
                self._wait_for_descriptors(lacks)
                return
            try:
                accepted, _ = self._socket.accept()
            except OSError as error:
                if error.errno in _GONE:
                    return
                if error.errno not in _EXHAUSTED:
                    self._pause()
                    raise
                if self._spends and self._reserve is not None and self._reserve.spend():
                    self._failed(error)
                    continue
                self._wait_for_descriptors(error)
                return
            accepted.setblocking(False)
            self._take(accepted)

    def _wait_for_descriptors(self, error: OSError) -> None:
        self._failed(error)
        self._connections.make_room()
        self._pause()

    def _take(self, accepted: socket.socket) -> None:
        self._connections.coming += 1
        task: asyncio.Task[object] = self._loop.create_task(
            self._loop.connect_accepted_socket(self._protocol, accepted)
        )
        self._arriving.add(task)

        def arrived(task: asyncio.Task[object]) -> None:
            self._arriving.discard(task)
            self._connections.coming -= 1
            if not task.cancelled() and (error := task.exception()):
                accepted.close()
                if isinstance(error, OSError) and error.errno in _EXHAUSTED:
                    self._failed(error)
                elif not isinstance(error, OSError):
                    _LOG.error("not_connected", exc_info=error)

        task.add_done_callback(arrived)

    def _failed(self, error: OSError) -> None:
        self._exhausted.inc()
        if (unsaid := self._say.now(str(error.errno))) is not None:
            _LOG.error(
                "descriptors_exhausted",
                port=self._connections.port,
                detail=str(error),
                open_connections=len(self._connections.open()),
                count=unsaid,
            )


async def bound(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on each address of `host`. Raises `OSError`."""
    loop, sockets = asyncio.get_running_loop(), list[socket.socket]()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets
