"""A port accepts while there is room, and says when the process has no descriptors left."""

import asyncio
import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from uvicorn import Config
from uvicorn.server import ServerState

from producer_gateway.connection import Connection
from producer_gateway.connections import Connections, Patience
from producer_gateway.listener import (
    Listener,
    Reserve,
    bound,
    raise_descriptor_limit,
    room_for_callers,
)
from producer_gateway.routes import application
from runtime.logs import OnceAMinute
from tests.doubles.memory_gateway import MemoryGateway
from tests.doubles.memory_kafka import until
from tests.waiting import NET_SECONDS

GET = b"GET / HTTP/1.1\r\n\r\n"


class Full:
    """A listening socket of a process that has no descriptors left, so many times."""

    def __init__(self, real: socket.socket, times: int) -> None:
        self._real = real
        self.times = times

    def accept(self) -> tuple[socket.socket, object]:
        """Refuse, or accept."""
        if self.times:
            self.times -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._real.accept()

    def fileno(self) -> int:
        """Of the real one."""
        return self._real.fileno()

    def close(self) -> None:
        """Close the real one."""
        self._real.close()


class Port:
    """A port on 127.0.0.1 whose descriptors run out on command."""

    def __init__(
        self, listening: socket.socket, times: int, reserve: Reserve | None, *, spends: bool
    ) -> None:
        self.double = MemoryGateway()
        config = Config(
            application(self.double.gateway), lifespan="off", log_config=None, ws="none"
        )
        state = ServerState()
        self.connections = Connections("probes", 4, Patience(10, 75), self.double.metrics)
        self.connections.of(state)
        self.number = listening.getsockname()[1]
        self.full = Full(listening, times)
        self.listener = Listener(
            self.full,  # type: ignore[arg-type]
            self.connections,
            lambda: Connection(config, state, {}),
            self.double.metrics,
            reserve,
            spends=spends,
        )

    async def asks(self) -> bytes:
        """Somebody connects and asks something."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(GET)
        said = await reader.readline()
        writer.close()
        return said

    def exhausted(self) -> float:
        """How often there was no descriptor."""
        return self.double.metric("billing_gateway_descriptors_exhausted_total", port="probes")


def run(
    use: Callable[[Port], Awaitable[None]],
    times: int,
    reserve: Reserve | None = None,
    *,
    spends: bool = True,
) -> None:
    """Use a port."""

    async def within() -> None:
        (listening,) = await bound("127.0.0.1", 0)
        port = Port(listening, times, reserve, spends=spends)
        try:
            await asyncio.wait_for(use(port), NET_SECONDS)
        finally:
            port.listener.close()
            await port.listener.wait_closed()

    asyncio.run(within())


def test_without_descriptors_it_says_so_once_counts_and_accepts_when_there_are_some() -> None:
    async def use(port: Port) -> None:
        asking = asyncio.create_task(port.asks())
        while port.full.times:
            port.connections.look(1.0)
            await asyncio.sleep(0)
        port.connections.look(1.0)
        assert (await asking).startswith(b"HTTP/1.1 404 ")
        assert port.exhausted() == 3

    with capture_logs() as lines:
        run(use, times=3)
    said = [line for line in lines if line["event"] == "descriptors_exhausted"]
    assert len(said) == 1
    assert (said[0]["port"], said[0]["log_level"]) == ("probes", "error")


def test_the_probes_have_descriptors_of_their_own() -> None:
    reserve = Reserve(2)

    async def use(port: Port) -> None:
        # Nobody looks at the connections: it is the reserve that lets them in.
        assert (await port.asks()).startswith(b"HTTP/1.1 404 ")
        assert port.exhausted() == 2

    before = len(list(Path("/proc/self/fd").iterdir()))
    run(use, times=2, reserve=reserve)
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 2
    assert reserve.fill() is None
    reserve.close()


def test_what_cannot_be_reserved_again_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    reserve = Reserve(1)

    async def use(port: Port) -> None:
        assert reserve.spend()

        def refuse(*_: object) -> int:
            raise OSError(errno.ENFILE, "too many")

        with monkeypatch.context() as patch:
            patch.setattr("producer_gateway.listener.os.open", refuse)
            port.connections.look(1.0)
        assert port.exhausted() == 1
        port.connections.look(1.0)
        assert port.exhausted() == 1
        assert await port.asks()

    run(use, times=0, reserve=reserve)
    reserve.close()


def test_what_becomes_free_goes_to_the_reserve_before_any_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Silent callers took each descriptor, one after another, and the probes were not answered."""
    reserve = Reserve(1)

    async def use(port: Port) -> None:
        assert reserve.spend()

        def refuse(*_: object) -> int:
            raise OSError(errno.EMFILE, "too many")

        with monkeypatch.context() as patch:
            patch.setattr("producer_gateway.listener.os.open", refuse)
            asking = asyncio.create_task(port.asks())
            await until(lambda: port.exhausted() > 0 or asking.done())
            port.connections.look(1.0)
            await asyncio.sleep(0.05)
            assert not asking.done()
        port.connections.look(1.0)
        assert await asking
        assert reserve.spend()

    run(use, times=0, reserve=reserve, spends=False)
    reserve.close()


def test_beyond_the_most_the_oldest_goes_and_the_new_one_is_answered() -> None:
    async def use(port: Port) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port.number) for _ in range(20)]
        for _ in range(3):
            assert (await port.asks()).startswith(b"HTTP/1.1 404 ")
        assert await idle[0][0].read() == b""
        assert len(port.connections.open()) <= 5
        for _, writer in idle:
            writer.close()

    run(use, times=0)


def test_a_port_that_is_taken_is_an_error() -> None:
    async def use(port: Port) -> None:
        with pytest.raises(OSError, match="in use"):
            await bound("127.0.0.1", port.number)

    run(use, times=0)


@pytest.mark.parametrize(
    ("wanted", "descriptors", "room"),
    [
        *((1024, 65_536, 1024), (1024, 1024, 896), (1024, 256, 128), (1024, 64, 32)),
        *((10, 256, 10), (1024, 2, 1), (1024, resource.RLIM_INFINITY, 1024)),
    ],
)
def test_callers_leave_the_process_descriptors_of_its_own(
    wanted: int, descriptors: int, room: int
) -> None:
    assert room_for_callers(wanted, descriptors) == room


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 200), hard))
        assert raise_descriptor_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_line_is_said_once_a_minute_with_how_often_it_would_have_been() -> None:
    now = [10.0]
    say = OnceAMinute(lambda: now[0])
    said = list[int | None]()
    for _ in range(130):
        now[0] += 1
        said.append(say.now("kind"))
    assert [count for count in said if count] == [1, 60, 60]
    assert say.now("other") == 1
