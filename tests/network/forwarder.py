"""Forwards TCP connections as its links allow: `python -I -S forwarder.py CONTROL_PORT`.

A program of its own, of the standard library only, so that what passes a cluster's links takes
nothing from the tests' process. It takes orders on the control port of 127.0.0.1, one JSON object
a line, and answers each with `done` or with what is wrong:

- `{"name": ..., "host": ..., "port": ..., "behind": ...}` opens a door that leads to that port of
  127.0.0.1; several doors may have one name, which then is one link;
- `{"links": [...], "state": "open" | "cut" | "silent" | "slow", "delay": seconds}`.
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections import deque
from functools import partial
from typing import Any

BACKLOG = 128
PAUSE_SECONDS = 1.0
RESET = struct.pack("ii", 1, 0)
"""The option by which a socket's close tells the other side of a reset."""


class Side(asyncio.Protocol):
    """One of a connection's two ends: what comes in here goes out at the other one."""

    def __init__(self, door: "Door") -> None:
        self._door = door
        self._late: deque[tuple[float, bytes | None]] = deque()
        self._full = False
        self._told_end = False
        self.other: Side | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, in whatever state the door is."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._door.sides.add(self)
        self.govern()

    def data_received(self, data: bytes) -> None:
        """Hand over."""
        self._hand_over(data)

    def eof_received(self) -> bool:
        """Hand over that no more comes; the other direction goes on."""
        self._hand_over(None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end is lost as well."""
        self._door.sides.discard(self)
        if self.other is not None:
            self.other.end(reset=exc is not None)

    def pause_writing(self) -> None:
        """The other end sends more than this one takes."""
        self._hold(full=True)

    def resume_writing(self) -> None:
        """There is room again."""
        self._hold(full=False)

    def _hold(self, *, full: bool) -> None:
        if self.other is not None:
            self.other._full = full  # noqa: SLF001 - of the same connection
            self.other.govern()

    def govern(self) -> None:
        """Read or not, as the door and the other end have it."""
        if self.transport is None or self.transport.is_closing():
            return
        if self._full or self.other is None or self._door.silent:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _hand_over(self, data: bytes | None) -> None:
        if self.other is None:
            return
        if not (self._door.delay or self._late):
            self.other.write(data)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + self._door.delay
        if self._late:
            due = max(due, self._late[-1][0])
        else:
            loop.call_at(due, self._deliver)
        self._late.append((due, data))

    def _deliver(self) -> None:
        """Send what is due, in its order."""
        loop = asyncio.get_running_loop()
        while self._late and self._late[0][0] <= loop.time():
            _, data = self._late.popleft()
            if self.other is not None:
                self.other.write(data)
        if self._late:
            loop.call_at(self._late[0][0], self._deliver)

    def write(self, data: bytes | None) -> None:
        """Send data, or that no more comes."""
        if self.transport is None or self.transport.is_closing():
            return
        if data is not None:
            self.transport.write(data)
            return
        with contextlib.suppress(OSError):
            self.transport.write_eof()
        self._told_end = True
        if self.other is not None and self.other._told_end:  # noqa: SLF001 - of the same connection
            # Both have said all: a transport that is told to stay open never closes by itself.
            self.end(reset=False)
            self.other.end(reset=False)

    def end(self, *, reset: bool) -> None:
        """Close, after what is to be written; or at once, and tell of a reset."""
        if self.transport is None:
            return
        if not reset:
            self.transport.close()
            return
        with contextlib.suppress(OSError):
            given = self.transport.get_extra_info("socket")
            given.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()


class Door:
    """An address that leads to a port of 127.0.0.1, and the connections through it."""

    def __init__(self, host: str, port: int, behind: int) -> None:
        self._address = (host, port)
        self._behind = behind
        self._listener = socket.create_server((host, port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._refuses = False
        self._filler: socket.socket | None = None
        self._begun: set[asyncio.Task[None]] = set()
        self.silent = False
        self.delay = 0.0
        self.sides: set[Side] = set()
        self._listen()

    def turn(self, state: str, delay: float) -> None:
        """Be open, cut, silent or slow from now on."""
        self.delay = delay if state == "slow" else 0.0
        self.silent = state == "silent"
        if state == "cut":
            self._refuse()
        else:
            self._listen()
        if self.silent:
            self._ignore()
        for side in list(self.sides):
            side.govern()

    def _listen(self) -> None:
        self._refuses = False
        self._listener.listen(BACKLOG)
        if self._filler is not None:
            self._filler.close()
            self._filler = None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _refuse(self) -> None:
        """Nobody listens any more, and whoever is connected is told of a reset."""
        asyncio.get_running_loop().remove_reader(self._listener)
        if not self._refuses:
            # Linux takes it for the end of listening alone: the port stays this one's.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._refuses = True
        for side in list(self.sides):
            side.end(reset=True)

    def _ignore(self) -> None:
        """Leave who connects without an answer, as a network does that drops what it is given.

        The kernel answers for a listener until its queue is full; one connection fills this one.
        """
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.listen(0)
        self._filler = socket.socket()
        self._filler.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self._filler.connect(self._address)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            # Out of descriptors, say: whoever waits stays in the queue meanwhile.
            sys.stderr.write(f"{self._address}: {error}\n")
            sys.stderr.flush()
            loop.remove_reader(self._listener)
            loop.call_later(PAUSE_SECONDS, self._take_again)
            return
        task = loop.create_task(self._connect(accepted))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    def _take_again(self) -> None:
        if not (self._refuses or self.silent):
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    async def _connect(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        make = partial(Side, self)
        _, outer = await loop.connect_accepted_socket(make, accepted)
        try:
            _, inner = await loop.create_connection(make, "127.0.0.1", self._behind)
        except OSError:
            outer.end(reset=True)
            return
        outer.other, inner.other = inner, outer
        if self._refuses:
            inner.end(reset=True)
            outer.end(reset=True)
        for side in (outer, inner):
            side.govern()


class Doors:
    """All of them, by the names of their links."""

    def __init__(self) -> None:
        self._doors: dict[str, list[Door]] = {}

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take orders until the connection ends."""
        while line := await reader.readline():
            try:
                self._do(json.loads(line))
                answer = "done"
            except (OSError, KeyError, ValueError) as wrong:
                answer = f"{type(wrong).__name__}: {wrong}"
            writer.write(answer.encode() + b"\n")
            await writer.drain()
        writer.close()

    def _do(self, order: dict[str, Any]) -> None:
        if "name" in order:
            door = Door(order["host"], order["port"], order["behind"])
            self._doors.setdefault(order["name"], []).append(door)
            return
        for name in order["links"]:
            for door in self._doors[name]:
                door.turn(order["state"], order["delay"])


async def main() -> None:
    """Take orders on the control port until this process is ended."""
    server = await asyncio.start_server(Doors().obey, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
