"""One answer to each request, and a 2xx only for bytes that were read to the end of their framing.

Report 01: a POST that offers `Upgrade` was answered 202 and its body thrown away.
"""

import json
from itertools import pairwise
from typing import Protocol

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from producer_gateway.routes import CALLBACKS_PATH, USAGE_UNITS_PATH, application
from tests.doubles.memory_connection import Talk, talk
from tests.doubles.memory_gateway import TOKEN, MemoryGateway
from tests.inputs import captures
from tests.inputs.callbacks import element, usage_unit

OFFERS = (
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIA",
    b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
    b"UPGRADE: TLS/1.0, anything/2\r\nconnection: keep-alive, upgrade",
    b"Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: upgrade",
    b"Upgrade: h2c",
    b"Connection: Upgrade",
    b"",
)
ONE = element(id="one", litellm_call_id="one")
TWO = element(id="two", litellm_call_id="two")
GARBAGE = b"\x16\x03\x01\x02\x00\x01\x00 no HTTP\r\n\r\n"


class Framed(Protocol):
    """A way to frame a body."""

    def __call__(self, body: bytes, /, *lines: bytes, path: str = CALLBACKS_PATH) -> bytes:
        """A request with that body."""


def head(*lines: bytes, path: str = CALLBACKS_PATH, method: bytes = b"POST") -> bytes:
    """The head of a request with a token."""
    first = b"%s %s HTTP/1.1" % (method, path.encode())
    own = [b"Host: gateway", b"Authorization: Bearer " + TOKEN.encode()]
    return b"\r\n".join([first, *own, *filter(None, lines), b"", b""])


def sized(body: bytes, *lines: bytes, path: str = CALLBACKS_PATH) -> bytes:
    """A request whose body has a declared length."""
    return head(*lines, b"Content-Length: %d" % len(body), path=path) + body


def chunked(body: bytes, *lines: bytes, size: int = 50, path: str = CALLBACKS_PATH) -> bytes:
    """A request whose body comes in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return head(*lines, b"Transfer-Encoding: chunked", path=path) + framed + b"0\r\n\r\n"


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    """The segments between the places."""
    return [raw[a:b] for a, b in pairwise(sorted({0, len(raw), *(p % len(raw) for p in places)}))]


class Door:
    """A gateway in memory behind a connection."""

    def __init__(self) -> None:
        # Nothing here waits for a timeout; what is torn must end without one.
        self.double = MemoryGateway()
        self.app = application(self.double.gateway)

    def send(self, *segments: bytes, ends: bool = False) -> Talk:
        """Send on one connection."""
        return talk(self.app, segments, ends=ends)

    def stored(self) -> list[bytes]:
        """The values of what was stored, and forget them."""
        values = [record.value for record in self.double.store.records]
        self.double.store.records.clear()
        return values

    def counted(self, route: str, status: int) -> float:
        """How many answers."""
        return self.double.metric("billing_gateway_requests_total", route=route, status=str(status))


@pytest.fixture
def door() -> Door:
    """A gateway in memory behind a connection."""
    return Door()


@pytest.fixture(scope="module")
def old_door() -> Door:
    """One that is made once; for what looks at no counter."""
    return Door()


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("framed", [sized, chunked])
@pytest.mark.parametrize("segments", ["one", "head and body", "bytes"])
def test_report_01_an_offer_to_upgrade_is_ignored_and_the_body_taken(
    door: Door, offer: bytes, framed: Framed, segments: str
) -> None:
    raw = framed(captures.array([ONE, TWO]), offer)
    at = raw.index(b"\r\n\r\n") + 4
    pieces = {
        "one": [raw],
        "head and body": [raw[:at], raw[at:]],
        "bytes": [raw[i : i + 1] for i in range(len(raw))],
    }[segments]
    said = door.send(*pieces)
    assert said.statuses == [202]
    assert json.loads(said.answers[0].body) == {"accepted": 2, "parked": 0, "spooled": 0}
    assert door.stored() == [ONE, TWO]
    assert not said.closed
    assert door.double.metric("billing_gateway_received_bytes_total") == len(ONE) + len(TWO) + 3


@pytest.mark.parametrize("framed", [sized, chunked])
def test_report_01_a_usage_unit_with_an_offer_is_taken(door: Door, framed: Framed) -> None:
    body = json.dumps(usage_unit()).encode()
    raw = framed(body, OFFERS[0], path=USAGE_UNITS_PATH)
    assert door.send(raw).statuses == [202]
    assert len(door.stored()) == 1
    raw = framed(b"", OFFERS[0], path=USAGE_UNITS_PATH)
    assert door.send(raw).statuses == [400]


REQUESTS = st.builds(
    lambda framed, number, offer: (
        framed(captures.array([element(id=f"id-{number}")]), offer),
        element(id=f"id-{number}"),
    ),
    st.sampled_from([sized, chunked]),
    st.integers(0, 10**6),
    st.sampled_from(OFFERS),
)


@given(st.lists(REQUESTS, min_size=1, max_size=5), st.lists(st.integers(0, 10**6), max_size=6))
@example([(sized(ONE, OFFERS[0]), ONE), (sized(TWO, OFFERS[2]), TWO)], [])
def test_requests_one_behind_the_other_are_all_taken_wherever_the_segments_end(
    old_door: Door, requests: list[tuple[bytes, bytes]], places: list[int]
) -> None:
    said = old_door.send(*cut(b"".join(raw for raw, _ in requests), places))
    assert said.statuses == [202] * len(requests)
    assert old_door.stored() == [value for _, value in requests]


@given(st.lists(REQUESTS, min_size=1, max_size=3), st.integers(1, 10**6), st.booleans())
def test_ACCEPTED_IS_DURABLE_a_body_that_ends_early_is_never_a_2xx(
    old_door: Door,
    requests: list[tuple[bytes, bytes]],
    missing: int,
    ends: bool,  # noqa: FBT001 - drawn
) -> None:
    *before, (whole, _) = requests
    body = len(whole) - whole.index(b"\r\n\r\n") - 4
    torn = whole[: -(missing % body or 1)]
    said = old_door.send(b"".join(raw for raw, _ in before) + torn, ends=ends)
    assert said.statuses == [202] * len(before) + [503] * ends
    assert old_door.stored() == [value for _, value in before]
    assert said.closed == ends


@pytest.mark.parametrize("offer", [OFFERS[0], OFFERS[2], b""])
@pytest.mark.parametrize("framed", [sized, chunked])
@pytest.mark.parametrize("body", [b"", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
@pytest.mark.parametrize("path", [CALLBACKS_PATH, USAGE_UNITS_PATH])
def test_an_empty_body_is_400_and_counted(
    door: Door, offer: bytes, framed: Framed, body: bytes, path: str
) -> None:
    said = door.send(framed(body, offer, path=path))
    assert said.statuses == [400]
    assert json.loads(said.answers[0].body)["error"] == "empty_body"
    assert door.counted(path.strip("/").split("/")[1].replace("-", "_"), 400) == 1


@pytest.mark.parametrize(
    "raw",
    [
        head(),
        head(b"Content-Length: 0"),
        head().replace(b"HTTP/1.1", b"HTTP/1.0"),
        head(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(b"Expect: 100-continue", b"Content-Length: 0"),
    ],
)
def test_no_framing_is_an_empty_body(door: Door, raw: bytes) -> None:
    assert door.send(raw).statuses == [400]
    assert door.stored() == []


@pytest.mark.parametrize(
    "torn",
    [
        GARBAGE,
        b"CONNECT gateway:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        head(b"Transfer-Encoding: chunked", b"Content-Length: 3") + b"3\r\nabc\r\n0\r\n\r\n",
        head(b"Transfer-Encoding: gzip") + ONE,
        head(b"Content-Length: 3", b"Content-Length: 3") + b"abc",
        head(b"Content-Length: -1"),
        head(b"Transfer-Encoding: chunked") + b"zz\r\n",
        head(b"Transfer-Encoding: chunked") + b"3\r\nabcdef\r\n0\r\n\r\n",
        head(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n",
        head(b"Transfer-Encoding: chunked", OFFERS[0]) + b"zz\r\n",
        head(b"X: " + b"x" * 100_000),
        head(b"Transfer-Encoding: chunked") + b"0\r\n" + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_behind_a_request_costs_that_request_nothing(
    door: Door, torn: bytes
) -> None:
    """Issue 12, point 12: stored, and then answered 400."""
    for before in ([], [ONE], [ONE, TWO]):
        said = door.send(b"".join(map(sized, before)) + torn + sized(TWO))
        assert said.statuses[:-1] == [202] * len(before)
        assert said.statuses[-1] in {400, 431}
        assert said.closed
        assert b"connection: close" in said.written
        assert door.stored() == before
    errors = [door.counted(route, 400) for route in ("unreadable", "callbacks")]
    assert sum(errors) + door.counted("unreadable", 431) == 3


def test_a_request_that_is_refused_before_its_body_came_gets_one_answer(door: Door) -> None:
    wrong = head(b"Transfer-Encoding: chunked").replace(TOKEN.encode(), b"x" * 32)
    said = door.send(wrong, b"3\r\nabc\r\n", b"zz\r\n", sized(ONE))
    assert said.statuses == [401]
    assert said.closed
    said = door.send(wrong, b"3\r\nabc\r\n0\r\n\r\n", sized(ONE))
    assert said.statuses == [401, 202]


def test_a_client_that_ends_its_side_still_gets_its_answers(door: Door) -> None:
    said = talk(door.app, [sized(ONE) + chunked(TWO)], ends=True, at_once=True)
    assert said.statuses == [202, 202]
    assert said.closed
    assert door.stored() == [ONE, TWO]


def test_trailers_are_no_headers(door: Door) -> None:
    raw = chunked(ONE)[:-2] + b"Content-Encoding: gzip\r\ntraceparent: x\r\n\r\n"
    assert door.send(raw + sized(TWO)).statuses == [202, 202]
    assert door.stored() == [ONE, TWO]
    unknown = raw.replace(b"Authorization: Bearer " + TOKEN.encode(), b"X: y")
    unknown = unknown[:-2] + b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
    assert door.send(unknown).statuses == [401]


def test_whoever_waits_for_100_continue_gets_it_and_one_answer(door: Door) -> None:
    for offer in OFFERS:
        raw = sized(ONE, b"Expect: 100-continue", offer)
        at = raw.index(b"\r\n\r\n") + 4
        said = door.send(raw[:at], raw[at:])
        assert said.written.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert said.statuses == [202]
    assert door.stored() == [ONE] * len(OFFERS)


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"OPTIONS"])
def test_another_method_is_405_with_its_body_and_offer(door: Door, method: bytes) -> None:
    raw = head(OFFERS[0], b"Content-Length: 3", method=method) + b"[1]"
    assert door.send(raw).statuses == [405]
    assert door.stored() == []
    assert door.counted("callbacks", 405) == 1


def test_a_question_for_the_head_alone_is_405_without_a_body(door: Door) -> None:
    said = door.send(head(OFFERS[0], method=b"HEAD"))
    assert said.written.startswith(b"HTTP/1.1 405 ")
    assert said.written.endswith(b"\r\n\r\n")


def test_old_http_gets_its_answer_and_the_end(door: Door) -> None:
    said = door.send(sized(ONE, OFFERS[0]).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert said.statuses == [202]
    assert said.closed
    assert door.stored() == [ONE]
