"""What sockets may take of the gateway without a token: memory, time, connections, each bounded."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator

import pytest
from uvicorn.server import ServerState

from producer_gateway import connection as module
from producer_gateway.connection import Phase
from producer_gateway.connections import Connections, Patience
from producer_gateway.routes import CALLBACKS_PATH, application
from tests.doubles.memory_connection import Line, turned
from tests.doubles.memory_gateway import TOKEN, MemoryGateway
from tests.inputs import captures
from tests.inputs.callbacks import element

SEGMENT = 65_536
ENOUGH = 1_000_000
"""Bytes after which every endless thing must have had its end."""
ONE = captures.array([element(id="one")])
START = f"POST {CALLBACKS_PATH} HTTP/1.1\r\n".encode()
KNOWN = START + b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
CHUNKED = KNOWN + b"Transfer-Encoding: chunked\r\n\r\n"
STRANGE = START + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = KNOWN + b"Content-Length: %d\r\n\r\n" % len(ONE) + ONE
PATIENCE = Patience(head_s=10, idle_s=75, body_s=10, body_bytes_per_s=1_000)
CLOSED = "billing_gateway_closed_connections_total"


class Door:
    """A gateway in memory with connections that are looked at by hand."""

    def __init__(self, most: int = 100) -> None:
        self.double = MemoryGateway(GATEWAY_BODY_TIMEOUT_S="1000")
        self.app = application(self.double.gateway)
        self.state = ServerState()
        self.connections = Connections("callbacks", most, PATIENCE, self.double.metrics)
        self.connections.of(self.state)

    def line(self) -> Line:
        """Somebody connects; those that had to go for it are gone."""
        assert self.connections.room()
        for one in [c for c in self.state.connections if c.transport.is_closing()]:
            self.state.connections.discard(one)
        return Line(self.app, self.state)

    async def wait(self, seconds: int) -> None:
        """So many seconds pass."""
        for _ in range(seconds):
            self.connections.look(1.0)
            await turned()

    def closed(self, reason: str) -> float:
        """How many connections were ended without an answer."""
        return self.double.metric(CLOSED, port="callbacks", reason=reason)


def run(use: Callable[[Door], Awaitable[None]], most: int = 100) -> Door:
    """Use a door."""

    async def within() -> Door:
        door = Door(most)
        await use(door)
        return door

    return asyncio.run(within())


def endless(first: bytes, again: bytes) -> Iterator[bytes]:
    """One thing and then another without end, in segments."""
    yield first
    yield from itertools.repeat(again * (SEGMENT // len(again)))


@pytest.mark.parametrize(
    ("segments", "status"),
    [
        (endless(START, b"x-line: some value\r\n"), 431),
        (endless(START, b"a:b\r\n"), 431),
        (endless(START + b"x: ", b"x"), 431),
        (endless(START, b"x"), 431),
        (endless(b"GET /", b"x"), 431),
        (endless(WHOLE + START, b"x-line: some value\r\n"), 431),
        (endless(WHOLE * 3 + START + b"x: ", b"x"), 431),
        (endless(CHUNKED, b"0;x=y"), 431),
        (endless(CHUNKED + b"1;x=", b"x"), 431),
        (endless(CHUNKED + b"0\r\n", b"x-line: some value\r\n"), 431),
        (endless(CHUNKED + b"0\r\nx: ", b"x"), 431),
        (endless(CHUNKED + b"0\r\n", b"x"), 431),
        (endless(STRANGE + b"0\r\nx: ", b"x"), 401),
        (endless(STRANGE + b"1;x=", b"x"), 401),
        (endless(b"", b"\x00"), 400),
    ],
    ids=itertools.count(),
)
def test_what_has_no_end_is_ended(segments: Iterator[bytes], status: int) -> None:
    async def use(door: Door) -> None:
        line, sent = door.line(), 0
        while not line.ended() and sent < ENOUGH:
            segment = next(segments)
            sent += len(segment)
            await line.send(segment)
            await turned()
        assert line.ended()
        assert line.statuses()[-1] == status
        assert sent <= 64 * 1024 + 4 * SEGMENT
        reasons = {400: "malformed", 401: "missing", 431: "head_too_large"}
        sources = ("unknown", "litellm")
        assert sum(door.double.refused(str(status), reasons[status], s) for s in sources) == 1
        await line.lose()

    run(use)


@pytest.mark.parametrize(
    ("line", "count", "status"),
    [
        (b"x: " + b"x" * 60_000 + b"\r\n", 1, 202),
        (b"x: " + b"x" * 66_000 + b"\r\n", 1, 431),
        (b"x: y\r\n", 250, 202),
        (b"x: y\r\n", 300, 431),
        (b"x-" + b"x" * 700 + b": y\r\n", 90, 202),
        (b"x-" + b"x" * 700 + b": y\r\n", 100, 431),
    ],
)
@pytest.mark.parametrize("size", [1_000, 65_536, 300_000])
@pytest.mark.parametrize("before", [b"", WHOLE])
def test_a_head_may_have_64_kib_and_256_fields_however_it_comes(
    line: bytes, count: int, status: int, size: int, before: bytes
) -> None:
    raw = before + WHOLE.replace(b"Content-Length", line * count + b"Content-Length")

    async def use(door: Door) -> None:
        caller = door.line()
        for at in range(0, len(raw), size):
            await caller.send(raw[at : at + size])
        await turned()
        assert caller.statuses() == [202] * bool(before) + [status]
        assert caller.ended() == (status == 431)
        await caller.lose()

    run(use)


def test_a_long_path_is_part_of_the_head() -> None:
    async def use(door: Door) -> None:
        line = door.line()
        await line.send(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n")
        await turned()
        assert line.statuses() == [431]

    run(use)


def test_requests_that_wait_for_their_turn_are_bounded_and_the_others_get_their_answers() -> None:
    async def use(door: Door) -> None:
        line = door.line()
        await line.send(WHOLE * 1_000)
        await turned(2_000)
        *taken, last = line.statuses()
        assert taken == [202] * len(taken)
        assert 30 < len(taken) < 40
        assert last == 429
        assert line.ended()
        assert len(door.double.store.records) == len(taken)
        assert door.double.refused("429", "pipelined", "unknown") == 1
        await line.lose()

    run(use)


def test_connections_with_requests_that_wait_are_bounded_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MAX_QUEUES", 2)

    async def use(door: Door) -> None:
        lines = [door.line() for _ in range(3)]
        for line in lines:
            line.connection.data_received(WHOLE * 2)
        await turned()
        assert [line.statuses() for line in lines] == [[202, 202], [202, 202], [202, 429]]
        for line in lines:
            await line.lose()
        assert not module._queues  # noqa: SLF001 - nothing is left of them

    run(use)


@pytest.mark.parametrize(
    "begun", [START, START + b"x: y", WHOLE + START + b"x", b"\r\n", b"G", WHOLE + b"P"]
)
def test_a_head_that_does_not_complete_gets_408_and_the_end(begun: bytes) -> None:
    async def use(door: Door) -> None:
        line = door.line()
        await line.send(begun)
        await turned()
        before = line.statuses()
        for _ in range(9):
            await door.wait(1)
            await line.send(b"x" if begun.endswith(b"x") else b"")
        assert line.statuses() == before
        await door.wait(3)
        assert line.statuses() == [*before, 408]
        assert line.ended()
        assert door.double.refused("408", "slow_head", "unknown") == 1
        await line.lose()

    run(use)


def test_who_says_nothing_goes_after_ten_seconds_and_who_has_said_something_after_75() -> None:
    async def use(door: Door) -> None:
        silent, idle = door.line(), door.line()
        await idle.send(WHOLE)
        await turned()
        await door.wait(9)
        assert not silent.ended()
        await door.wait(3)
        assert silent.ended()
        assert silent.transport.written == b""
        await silent.lose()
        await door.wait(60)
        assert not idle.ended()
        await idle.send(WHOLE)
        await door.wait(70)
        assert not idle.ended()
        await door.wait(10)
        assert idle.ended()
        assert idle.statuses() == [202, 202]
        assert (door.closed("silent"), door.closed("idle")) == (1, 1)
        await idle.lose()

    run(use)


def test_a_body_must_come_at_the_least_rate_and_may_come_slowly() -> None:
    async def use(door: Door) -> None:
        stuck, slow, fair, torn = (door.line() for _ in range(4))
        head = KNOWN + b"Content-Length: 90000\r\n\r\n"
        await torn.send(CHUNKED)
        for line in (stuck, slow, fair):
            await line.send(head)
        for _ in range(15):
            await door.wait(1)
            await slow.send(b"x" * 500)
            await fair.send(b" " * 2_000)
            await torn.send(b"1;" + b"x" * 2_000 + b"\r\nx\r\n")
        assert [line.statuses() for line in (stuck, slow, torn)] == [[408]] * 3
        assert all(line.ended() for line in (stuck, slow, torn))
        assert fair.statuses() == []
        await fair.send(b" " * (90_000 - 15 * 2_000 - len(ONE)) + ONE)
        await turned()
        assert fair.statuses() == [202]
        assert door.double.refused("408", "slow_body", "litellm") == 3
        assert door.double.metric("billing_gateway_abandoned_requests_total") == 3
        assert door.double.metric("billing_gateway_inflight_bytes") == 0
        for line in (stuck, slow, fair, torn):
            await line.lose()

    run(use)


def test_the_rest_of_a_refused_body_is_thrown_away_for_ten_seconds() -> None:
    async def use(door: Door) -> None:
        patient, endless_one = door.line(), door.line()
        for line in (patient, endless_one):
            await line.send(STRANGE + b"3\r\nabc\r\n")
            await turned()
            assert line.statuses() == [401]
        for _ in range(8):
            await door.wait(1)
            for line in (patient, endless_one):
                await line.send(b"fff\r\n" + b"x" * 0xFFF + b"\r\n")
        await patient.send(b"0\r\n\r\n" + WHOLE)
        await turned()
        assert patient.statuses() == [401, 202]
        await door.wait(4)
        assert endless_one.ended()
        assert not patient.ended()
        assert door.closed("rest") == 1
        await endless_one.lose()
        await patient.lose()

    run(use)


def test_who_does_not_take_the_answer_is_ended() -> None:
    async def use(door: Door) -> None:
        line = door.line()
        line.connection.pause_writing()
        await line.send(WHOLE)
        await door.wait(9)
        assert not line.ended()
        await door.wait(3)
        assert line.ended()
        assert door.closed("unread") == 1
        await line.lose()

    run(use)


def test_who_waits_for_us_is_left_alone() -> None:
    async def use(door: Door) -> None:
        held = asyncio.Event()
        store = door.double.store.store

        async def slow(records: object) -> object:
            await held.wait()
            return await store(records)  # type: ignore[arg-type]

        door.double.store.store = slow  # type: ignore[assignment,method-assign]
        line = door.line()
        # The second one's body cannot be read on: that is our doing.
        await line.send(WHOLE + WHOLE[:-5])
        await door.wait(200)
        assert not line.ended()
        held.set()
        await turned()
        await line.send(WHOLE[-5:])
        await turned()
        assert line.statuses() == [202, 202]
        await line.lose()

    run(use)


def test_where_there_is_no_room_the_oldest_stranger_goes_for_a_new_one() -> None:
    async def use(door: Door) -> None:
        known = door.line()
        await known.send(WHOLE)
        busy = door.line()
        await busy.send(KNOWN + b"Content-Length: 10\r\n\r\n")
        strangers = [door.line() for _ in range(30)]
        await strangers[5].send(START)
        gone = [line for line in strangers if line.ended()]
        assert gone
        assert gone == strangers[: len(gone)]
        assert len(door.connections.open()) <= 16
        assert not known.ended()
        assert not busy.ended()
        await known.send(WHOLE)
        await busy.send(b" " * 9 + b"7")
        await turned()
        assert known.statuses() == [202, 202]
        assert busy.statuses() == [202]
        assert door.closed("no_room") == len(gone)

    run(use, most=16)


def test_where_everybody_is_busy_nobody_comes_in_and_nobody_goes() -> None:
    async def use(door: Door) -> None:
        lines = [door.line() for _ in range(4)]
        for line in lines:
            await line.send(KNOWN + b"Content-Length: 10\r\n\r\n")
        assert not door.connections.room()
        assert not any(line.ended() for line in lines)
        assert {line.connection.phase for line in lines} == {Phase.BODY}
        for line in lines:
            await line.lose()
        assert door.connections.room()
        assert door.double.metric("billing_gateway_open_connections", port="callbacks") == 0
        assert door.double.metric("billing_gateway_max_connections", port="callbacks") == 4

    run(use, most=4)
