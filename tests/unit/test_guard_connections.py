"""Which connection of the spend guard goes when there is no room, and which never does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from prometheus_client import REGISTRY
from uvicorn.server import ServerState

from spend_guard.connections import Connections, room
from tests.waiting import NET_SECONDS

ASK = b"POST /%d HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
LIMIT_SECONDS = NET_SECONDS
Talk = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """Connections behind which an application answers when it is told to."""

    def __init__(self, most: int) -> None:
        self.connections = Connections(most, LIMIT_SECONDS)
        self.goes_on = asyncio.Event()
        self.port = 0
        self._writers = list[asyncio.StreamWriter]()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - of ASGI
        assert receive
        if scope["path"] == "/1":
            await self.goes_on.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Served"]:
        """Listen."""
        config = uvicorn.Config(self, ws="none", lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: self.connections.protocol(config, state, {}), "127.0.0.1", 0
        )
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            self.goes_on.set()
            for writer in self._writers:
                writer.close()

    async def connect(self, sent: bytes = b"") -> Talk:
        """Connect, send, and let the server take it."""
        talk = await asyncio.open_connection("127.0.0.1", self.port)
        talk[1].write(sent)
        self._writers.append(talk[1])
        await asyncio.sleep(0.05)
        return talk


async def answered(talk: Talk) -> bool:
    """Whether a whole answer comes; false where the connection has ended."""
    try:
        return (await asyncio.wait_for(talk[0].readuntil(b"ok"), NET_SECONDS)).endswith(b"ok")
    except (asyncio.IncompleteReadError, ConnectionError):
        return False


def closed(reason: str) -> float:
    """How many were closed for it so far, by the tests of this process."""
    name = "billing_guard_closed_connections_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


def test_strangers_go_before_those_that_had_an_answer_and_the_oldest_first() -> None:
    async def scene() -> None:
        async with Served(3).running() as served:
            known = await served.connect(ASK % 0)
            assert await answered(known)
            stranger, other = await served.connect(), await served.connect()
            third = await served.connect(ASK % 0)

            assert await stranger[0].read() == b""
            assert await answered(third)
            for one in (known, other):
                one[1].write(ASK % 0)
                assert await answered(one)
            # Now all had one: the oldest goes.
            assert await answered(await served.connect(ASK % 0))
            assert await known[0].read() == b""

    asyncio.run(asyncio.wait_for(scene(), NET_SECONDS))


def test_where_all_are_in_hand_the_new_one_goes() -> None:
    async def scene() -> None:
        async with Served(2).running() as served:
            # Behind the request in hand another one has begun.
            busy = [await served.connect(ASK % 1), await served.connect(ASK % 1 + b"POST")]
            before = closed("no_room")

            assert not await answered(await served.connect(ASK % 0))
            assert closed("no_room") == before + 1
            served.goes_on.set()
            assert [await answered(one) for one in busy] == [True, True]

    asyncio.run(asyncio.wait_for(scene(), NET_SECONDS))


def test_what_waits_for_us_is_no_slow_client() -> None:
    async def scene() -> None:
        async with Served(9).running() as served:
            loop, before = asyncio.get_running_loop(), closed("slow")
            begun = await served.connect(b"POST /0 HT")
            busy = await served.connect(ASK % 1 + b"POST /0 HT")
            served.connections.look(loop.time() + LIMIT_SECONDS / 2)
            assert closed("slow") == before

            served.connections.look(loop.time() + LIMIT_SECONDS)
            assert await begun[0].read() == b""
            assert closed("slow") == before + 1
            served.goes_on.set()
            assert await answered(busy)
            # It could not be read on until now: its time begins here.
            served.connections.look(loop.time() + LIMIT_SECONDS / 2)
            busy[1].write(b"TP/1.1\r\nContent-Length: 0\r\n\r\n")
            assert await answered(busy)

    asyncio.run(asyncio.wait_for(scene(), NET_SECONDS))


@pytest.mark.parametrize(
    ("soft", "hard", "most"),
    [(64, 2_000, 1_000), (2_000, -1, 1_000), (1_000, 1_000, 872), (100, 100, 50), (1, 1, 1)],
)
def test_the_process_keeps_files_for_itself(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, most: int
) -> None:
    set_to = list[tuple[int, int]]()
    monkeypatch.setattr("resource.getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: set_to.append(limits))

    assert room(1_000) == most
    assert set_to == [(hard, hard)]
