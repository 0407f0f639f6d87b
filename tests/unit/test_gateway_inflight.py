"""Bytes in hand are reserved as they arrive, and no source keeps another one out."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from producer_gateway.body import InFlight
from producer_gateway.metrics import Metrics
from producer_gateway.request import RefusedError
from producer_gateway.routes import CALLBACKS_PATH, application
from tests.doubles.memory_connection import Line, turned
from tests.doubles.memory_gateway import EUROPE, TOKEN, MemoryGateway
from tests.inputs import captures
from tests.inputs.callbacks import element

LIMIT = 200_000
BODY = 100_000
ONE = captures.array([element(id="one")])


def head(length: int, token: str = TOKEN) -> bytes:
    """The head of a request with a body of that length."""
    text = f"POST {CALLBACKS_PATH} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n"
    return f"{text}Content-Length: {length}\r\n\r\n".encode()


def whole(size: int, token: str = TOKEN) -> bytes:
    """A request of one callback and white space."""
    return head(size, token) + ONE.ljust(size)


class Crowd:
    """Callers of a gateway in memory."""

    def __init__(self, **settings: str) -> None:
        self.double = MemoryGateway(
            GATEWAY_MAX_INFLIGHT_BYTES=str(LIMIT),
            GATEWAY_MAX_BODY_BYTES=str(BODY),
            GATEWAY_BODY_TIMEOUT_S="1000",
            **settings,
        )
        self.app = application(self.double.gateway)

    async def sends(self, data: bytes) -> Line:
        """A new caller sends something."""
        line = Line(self.app)
        await line.send(data)
        await turned()
        return line

    def held(self) -> float:
        """Bytes in hand."""
        return self.double.metric("billing_gateway_inflight_bytes")


def run(use: Callable[[Crowd], Awaitable[None]], **settings: str) -> None:
    """Use a crowd."""

    async def within() -> None:
        await use(Crowd(**settings))

    asyncio.run(within())


def test_a_length_that_is_declared_takes_nothing() -> None:
    """Issue 12: two heads that declare the largest body shut everybody out for a minute."""

    async def use(crowd: Crowd) -> None:
        liars = [await crowd.sends(head(BODY) + b"[") for _ in range(20)]
        assert crowd.held() == 20
        for token in (TOKEN, EUROPE):
            assert (await crowd.sends(whole(BODY // 2, token))).statuses() == [202]
        for liar in liars:
            await liar.lose()
        await turned()
        assert crowd.held() == 0

    run(use)


def test_what_has_arrived_counts_and_is_given_back() -> None:
    async def use(crowd: Crowd) -> None:
        first = await crowd.sends(head(BODY) + b" " * (BODY - 10))
        second = await crowd.sends(head(BODY) + b" " * (BODY - 10))
        assert crowd.held() == 2 * BODY - 20
        third = await crowd.sends(whole(5_000))
        assert third.statuses() == [503]
        assert crowd.double.metric("billing_gateway_not_stored_total", reason="inflight") == 1
        await first.send(b"[]".ljust(10))
        await turned()
        assert first.statuses() == [202]
        assert (await crowd.sends(whole(5_000))).statuses() == [202]
        await second.lose()
        await turned()
        assert crowd.held() == 0

    run(use)


def test_alone_a_source_may_have_it_all_and_gives_way_when_another_one_comes() -> None:
    async def use(crowd: Crowd) -> None:
        older = await crowd.sends(head(BODY) + b" " * (BODY - 10))
        newer = await crowd.sends(head(BODY) + b" " * (BODY - 10))
        other = await crowd.sends(whole(5_000, EUROPE))
        assert other.statuses() == [202]
        assert newer.statuses() == [503]
        assert crowd.held() == BODY - 10
        await older.send(b"[]".ljust(10))
        await turned()
        assert older.statuses() == [202]

    run(use)


def test_while_another_one_wants_in_a_source_has_no_more_than_its_share() -> None:
    async def use(crowd: Crowd) -> None:
        other = await crowd.sends(head(BODY, EUROPE) + b" ")
        await crowd.sends(head(BODY) + b" " * (BODY - 10))
        assert (await crowd.sends(whole(5_000))).statuses() == [503]
        name = "billing_gateway_not_stored_total"
        assert crowd.double.metric(name, reason="source_share") == 1
        await other.lose()
        await turned()
        assert (await crowd.sends(whole(5_000))).statuses() == [202]

    run(use)


def test_the_largest_body_is_taken_whatever_the_share() -> None:
    async def use(crowd: Crowd) -> None:
        await crowd.sends(head(BODY, EUROPE) + b" ")
        assert (await crowd.sends(whole(BODY))).statuses() == [202]

    run(use, GATEWAY_SOURCE_SHARE="0.001")


def test_two_that_fill_their_shares_do_not_keep_a_third_one_out() -> None:
    async def use(crowd: Crowd) -> None:
        first = await crowd.sends(head(BODY) + b" " * (BODY - 1))
        second = await crowd.sends(head(BODY, EUROPE) + b" " * (BODY - 2))
        third = await crowd.sends(whole(5_000, "a" * 32))
        assert third.statuses() == [202]
        assert (first.statuses(), second.statuses()) == ([503], [])

    run(use, BILLING_INGEST_TOKENS=f"eu={EUROPE},asia={'a' * 32}")


def test_a_source_that_was_refused_wants_in_for_ten_seconds() -> None:
    now = [100.0]
    flight = InFlight(100, 50, Metrics(), lambda: now[0])
    flight.take("a", 100)
    with pytest.raises(RefusedError):
        flight.take("b", 10)
    flight.give_back("a", 60)
    with pytest.raises(RefusedError, match="other sources need room"):
        flight.take("a", 20)
    now[0] += 20
    flight.take("a", 20)
    flight.give_back("a", 60)
    assert flight.used == 0


def test_a_body_in_one_piece_is_taken_by_any_transport() -> None:
    double = MemoryGateway()
    assert double.request().status_code == httpx.codes.ACCEPTED
    assert double.metric("billing_gateway_inflight_bytes") == 0
