"""Bodies and requests that are made up: some well framed, some not."""

from typing import NamedTuple

from hypothesis import strategies as st

from producer_gateway.records import Envelope, Preparer
from schemas.topics import load_topics
from tests.inputs.bodies import JSON_LIKE, OBJECTS, VALUES, Encoding, dump
from tests.inputs.callbacks import element
from tests.processes.gateway import CALLBACKS_PATH, TOKEN

MAX_BODY_BYTES = 1_000_000
REAL = st.fixed_dictionaries(
    {"id": st.text(max_size=5)},
    optional={
        "litellm_call_id": VALUES,
        "response_cost": VALUES,
        "end_user": VALUES,
        "metadata": st.fixed_dictionaries({"spend_logs_metadata": VALUES}) | VALUES,
        "messages": VALUES,
    },
).map(lambda fields: element(**fields))
NUMBERS = st.one_of(
    st.integers(0, 20_000).map(lambda digits: b"9" * digits),
    st.integers(-400, 100_000).map(lambda power: b"1e%d" % power),
    st.sampled_from([b"-", b"01", b"1e", b"-0", b"NaN", b"-Infinity", b"0x10", b"1_000"]),
)
NESTED = st.builds(
    lambda opener, depth, closers: opener * depth + b"1" + closers * depth,
    st.sampled_from([b"[", b'{"a":', b'[{"id":', b'{"id":"a","x":[']),
    st.sampled_from([1, 100, 511, 999, 1_001, 5_000, 60_000]),
    st.sampled_from([b"", b"]", b"}", b"}]", b"]}"]),
)
PIECES = st.one_of(
    REAL,
    OBJECTS.map(lambda value: dump(value, (", ", ": "), Encoding.UTF_8)),
    NUMBERS.map(lambda number: element(id="n").replace(b"0.000036", number)),
    NUMBERS,
    NESTED,
    JSON_LIKE,
    st.binary(max_size=50),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A list, lines, or one thing; some bytes of it may be others."""
    pieces = draw(st.lists(PIECES, max_size=6))
    join = draw(st.sampled_from([b",", b"\n", b"\r\n", b" , ", b"", b",,", b"\x00"]))
    opener, closer = draw(st.sampled_from([(b"[", b"]"), (b"", b""), (b"[", b""), (b"", b"]")]))
    body = draw(st.sampled_from([b"", b"\xef\xbb\xbf", b" "])) + opener + join.join(pieces) + closer
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]
    return body


class Sent(NamedTuple):
    """A request as bytes.

    One whose framing is right is `honest`: it must get this status, and these values must be on the
    topics when it has. Nothing is known of another one.
    """

    raw: bytes
    honest: bool
    status: int = 0
    values: tuple[bytes, ...] = ()


TEXT = st.text(st.sampled_from([chr(n) for n in range(32, 256) if n != 127]), max_size=30).map(
    lambda text: text.encode("latin-1")
)
ODD_HEADERS = st.lists(
    st.one_of(
        st.builds(lambda value: b"Content-Type: " + value, TEXT),
        st.builds(lambda value: b"traceparent: " + value, TEXT),
        st.builds(lambda value: b"X-Odd: " + value, TEXT),
        st.sampled_from(
            [
                b"Content-Type: application/json; charset=utf-16",
                b"Content-Type: multipart/form-data; boundary=x",
                b"Content-Type: " + b"x" * 5_000,
                b"Accept: nothing/at-all",
                b"Expect: 100-continue",
                b"Content-Encoding: identity",
                b"Content-Encoding: ",
                b"Host: elsewhere",
                b"Cookie: " + b"c" * 10_000,
            ]
        ),
    ),
    max_size=4,
)
LYING_HEADERS = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [
                b"Content-Length: -1",
                b"Content-Length: 0x10",
                b"Content-Length: 5, 5",
                b"Content-Length: 99999999999999999999999999",
                b"Content-Length: 18446744073709551615",
                b"Content-Length: \xd9\xa5",
                b"Content-Length: 3",
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: gzip, chunked",
                b"Transfer-Encoding: identity",
                b"Content-Encoding: gzip",
                b"Connection: upgrade\r\nUpgrade: websocket",
                b"Connection: close",
                b"Authorization: Bearer \xff\xfe",
                b"Authorization: Basic x",
                b" folded: header",
                b"No colon here",
            ]
        ),
    ),
    min_size=1,
    max_size=4,
)


OFFERS = st.sampled_from(
    [
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAA",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
        b"connection: keep-alive, upgrade\r\nUPGRADE: TLS/1.0, x/2",
        b"Upgrade: h2c",
        b"X-Offer: none",
    ]
)
"""To speak another protocol, which nobody must take up."""

LINES = st.sampled_from(
    [
        b"POST %s HTTP/1.1" % path.encode()
        for path in (
            CALLBACKS_PATH,
            f"{CALLBACKS_PATH}/",
            f"/{CALLBACKS_PATH}",
            CALLBACKS_PATH.replace("/litellm", "//litellm"),
            "/api/internal/billing/ingest",
        )
    ]
)
PREPARER = Preparer(load_topics(), drop_content=False)


def chunked(body: bytes, size: int, extension: bytes) -> bytes:
    """A body in chunks."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    sized = [b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts]
    return b"".join(sized) + b"0\r\n\r\n"


def request(
    headers: list[bytes],
    payload: bytes,
    line: bytes = b"POST %s HTTP/1.1" % CALLBACKS_PATH.encode(),
) -> bytes:
    """A request as bytes."""
    own = [b"Host: gateway", b"Authorization: Bearer " + TOKEN.encode()]
    return b"\r\n".join([line, *own, *headers, b"", payload])


@st.composite
def known(draw: st.DrawFn) -> tuple[bytes, tuple[bytes, ...]]:
    """A body in one of LiteLLM's three formats, and the values that must come of it."""
    dumped = OBJECTS.map(lambda value: dump(value, (", ", ": "), Encoding.UTF_8))
    values = draw(st.lists(REAL | dumped, min_size=1, max_size=6))
    match draw(st.integers(0, 2)):
        case 0:
            return b"[" + b", ".join(values) + b"]", tuple(values)
        case 1:
            return b"\n".join(values), tuple(values)
        case _:
            return values[0], (values[0],)


def cut(body: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Any body, and what the gateway's own cutting, which has tests of its own, makes of it."""
    prepared = PREPARER.prepare(body, Envelope("litellm", "", None))
    return body, tuple(record.value for record in prepared.records)


def is_blank(body: bytes) -> bool:
    """Whether there is nothing in a body."""
    return not body.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\x0b\x0c") or not body.strip()


@st.composite
def honest(draw: st.DrawFn) -> Sent:
    """A request whose framing is right, and whose body is not larger than is allowed."""
    small = bodies().filter(lambda body: len(body) <= MAX_BODY_BYTES)
    body, values = draw(known() | small.map(cut))
    headers, line = [*draw(ODD_HEADERS), draw(OFFERS)], draw(LINES)
    if draw(st.booleans()):
        raw = request([*headers, b"Content-Length: %d" % len(body)], body, line)
    else:
        extension = draw(st.sampled_from([b"", b";a=b", b';x="y"']))
        payload = chunked(body, draw(st.sampled_from([1_000, 7, 100_000])), extension)
        raw = request([*headers, b"Transfer-Encoding: chunked"], payload, line)
    blank = is_blank(body)
    return Sent(raw, honest=True, status=400 if blank else 202, values=() if blank else values)


@st.composite
def lying(draw: st.DrawFn) -> Sent:
    """A request whose framing, line or headers are wrong."""
    body, headers = draw(bodies()), draw(LYING_HEADERS)
    match draw(st.integers(0, 4)):
        case 0:
            raw = request([*headers, b"Content-Length: %d" % len(body)], body)
        case 1:
            claimed = max(0, len(body) + draw(st.integers(-20, 20)))
            raw = request([b"Content-Length: %d" % claimed], body)
        case 2:
            raw = request([b"Transfer-Encoding: chunked"], b"ffffffffffffffff1\r\n" + body)
        case 3:
            lines = [b"POST / HTTP/9.9", b"GET http://[ HTTP/1.1", b"\xff\xff", b"POST  HTTP/1.1"]
            line = draw(st.sampled_from(lines) | st.binary(max_size=30))
            raw = request([b"Content-Length: %d" % len(body)], body, line)
        case _:
            raw = draw(st.binary(max_size=200)) + body
    return Sent(raw, honest=False)


EMPTY = Sent(request([b"Content-Length: 0"], b""), honest=True, status=400)
