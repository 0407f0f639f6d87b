"""A body is taken as it comes, in parts of any size, and an answer is sent whole."""

import asyncio
import tracemalloc

from starlette.types import Message, Receive, Scope, Send

from producer_gateway.exchange import Parts
from producer_gateway.routes import CALLBACKS_PATH, application
from tests.clients.wire import answers
from tests.doubles.memory_connection import Line, talk, turned
from tests.doubles.memory_gateway import TOKEN, MemoryGateway
from tests.inputs import captures
from tests.inputs.callbacks import element

ONE = captures.array([element(id="one")])
HEAD = (
    f"POST {CALLBACKS_PATH} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: %d\r\n\r\n"
)


OURS = ("*/producer_gateway/*", "*/uvicorn/*", "*/tests/doubles/*", __file__)


def held() -> int:
    """Bytes that the gateway, its server and this file hold of what they have asked for.

    Threads that other tests of this process have left ask for memory meanwhile, too.
    """
    taken = tracemalloc.take_snapshot()
    taken = taken.filter_traces(
        [tracemalloc.Filter(inclusive=True, filename_pattern=one) for one in OURS]
    )
    return sum(statistic.size for statistic in taken.statistics("filename"))


def request(body: bytes) -> bytes:
    """A request with a token."""
    return (HEAD % len(body)).encode() + body


def test_parts_of_any_size_are_the_body_again() -> None:
    body = bytes(range(256)) * 400
    for sizes in ([1], [5000], [1, 5000], [5000, 1, 1], [1023, 1024, 1025]):
        parts, at, turn = Parts(), 0, 0
        while at < len(body):
            parts.add(body[at : at + sizes[turn % len(sizes)]])
            at, turn = at + sizes[turn % len(sizes)], turn + 1
        assert parts.size == len(body)
        assert parts.joined() == body


def test_small_parts_take_hardly_more_memory_than_what_is_in_them() -> None:
    parts, count = Parts(), 200_000
    tracemalloc.start()
    try:
        for number in range(count):
            parts.add(b"%04d" % (number % 10_000))
        assert held() < 2 * 4 * count
    finally:
        tracemalloc.stop()


def test_of_a_body_that_is_refused_nothing_stays_in_hand_whatever_still_comes() -> None:
    memory = MemoryGateway(GATEWAY_MAX_BODY_BYTES="50000", GATEWAY_MAX_INFLIGHT_BYTES="50000")

    async def use() -> None:
        line = Line(application(memory.gateway))
        # Without a length, so that the bound is met in the middle.
        await line.send((HEAD.partition("Content-Length")[0]).encode())
        await line.send(b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            await line.send(b"fa0\r\n" + b" " * 4000 + b"\r\n")
        assert line.statuses() == [413]
        await line.send(b"0\r\n\r\n" + request(ONE))
        await turned()
        assert line.statuses() == [413, 202]
        assert memory.metric("billing_gateway_inflight_bytes") == 0
        await line.lose()

    asyncio.run(use())


async def _streaming(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"one", b"two"):
        await send({"type": "http.response.body", "body": part, "more_body": part == b"one"})


async def _broken(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 202, "headers": []})
    raise ValueError("before the body")


async def _short(_scope: Scope, receive: Receive, send: Send) -> None:
    message: Message = await receive()
    length = b"%d" % len(message["body"])
    headers = [(b"content-length", length), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": message["body"]})


def test_other_answers_are_sent_as_ever() -> None:
    said = talk(_streaming, [request(ONE)])
    assert said.written.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert talk(_broken, [request(ONE)]).statuses == [500]
    said = talk(_short, [request(ONE)])
    assert (said.closed, said.answers[0].body) == (True, ONE)
    asked = request(ONE).replace(b"POST", b"HEAD", 1)
    head = talk(_short, [asked]).written
    assert head.startswith(b"HTTP/1.1 202")
    assert head.endswith(b"\r\n\r\n")


def test_a_client_that_waits_to_be_told_to_go_on_is_told() -> None:
    memory = MemoryGateway()
    asked = request(ONE).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 1)
    at = asked.index(b"\r\n\r\n") + 4
    for segments in ([asked[:at], asked[at:]], [asked]):
        written = talk(application(memory.gateway), segments).written
        assert written.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\n")
        assert [one.status for one in answers(written)] == [202]


def test_a_connection_that_waits_for_its_next_request_keeps_nothing_of_the_last_one() -> None:
    memory, count, size = MemoryGateway(), 20, 90_000
    raw = request(ONE.ljust(size))

    async def use() -> None:
        app, lines = application(memory.gateway), list[Line]()
        tracemalloc.start()
        try:
            for _ in range(count):
                line = Line(app)
                lines.append(line)
                for at in range(0, len(raw), size // 4):
                    await line.send(raw[at : at + size // 4])
                await turned()
            assert [line.statuses() for line in lines] == [[202]] * count
            assert held() < count * size // 2
        finally:
            tracemalloc.stop()
        for line in lines:
            await line.lose()

    asyncio.run(use())
