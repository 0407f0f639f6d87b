"""Whatever comes in at the gateway's door: an answer, never a 500, and the books balance.

FUZZ_SECONDS says how long bodies and requests are made up; FUZZ_SEED where to begin, otherwise
always at the same place, or anywhere when FUZZ_SECONDS is given.
"""

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import schemathesis
from confluent_kafka import Consumer, TopicPartition
from hypothesis import HealthCheck, Phase, Verbosity, example, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from producer_gateway.routes import openapi
from schemas.topics import Topics
from tests.services.callbacks import element
from tests.services.gateway import AUTHORIZED, CALLBACKS_PATH, TOKEN, Gateway
from tests.services.waiting import eventually
from tests.services.wire import Answer, converse
from tests.unit.test_splitter_properties import JSON_LIKE, OBJECTS, VALUES, Encoding, dump

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 30)
ANYWHERE = secrets.randbelow(2**31) if "FUZZ_SECONDS" in os.environ else 20_261_122
SEED = int(os.environ.get("FUZZ_SEED") or ANYWHERE)
DEADLINE_SECONDS = 20.0
BODY_TIMEOUT_SECONDS = 1
MAX_BODY_BYTES = 1_000_000
EXAMPLES = 100
AS_MADE_UP = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    verbosity=Verbosity.quiet,
)
pytestmark = [
    pytest.mark.timeout(SECONDS * 2 + 200),
    # Some of what is made up has a mebibyte, and hypothesis wants to be able to show it.
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]


@pytest.fixture(scope="module")
def fuzzed(
    kafka: str, make_topics: Callable[[str], Topics], tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Door"]:
    """A gateway that gives up slow bodies soon."""
    prefix = f"f{secrets.token_hex(5)}."
    topics = make_topics(prefix)
    gateway = Gateway(
        kafka,
        prefix,
        tmp_path_factory.mktemp("fuzzed"),
        GATEWAY_BODY_TIMEOUT_S=str(BODY_TIMEOUT_SECONDS),
        GATEWAY_MAX_BODY_BYTES=str(MAX_BODY_BYTES),
    )
    gateway.start()
    gateway.ready()
    door = Door(gateway, kafka, topics)
    yield door
    door.close()


class Door:
    """The gateway under test, and what it has said and stored."""

    def __init__(self, gateway: Gateway, kafka: str, topics: Topics) -> None:
        self.gateway = gateway
        self.said = Counter[str]()
        self.statuses = Counter[int]()
        self._topics = topics
        self._reader = Consumer({"bootstrap.servers": kafka, "group.id": "fuzz"})

    def close(self) -> None:
        """End the gateway."""
        self._reader.close()
        self.gateway.stop()

    def note(self, answer: Answer) -> None:
        """Count an answer; none may be a failure of ours."""
        self.statuses[answer.status] += 1
        assert answer.status not in {500, 502, 504}, answer
        if answer.status == 202:
            counts = json.loads(answer.body)
            self.said.update({name: counts[name] for name in ("accepted", "parked")})

    def balances(self, *, every_answer_seen: bool) -> None:
        """NOTHING_VANISHES: every element of a 202 is a callback or a dead letter."""
        self.gateway.server.check()
        # Of a connection that was closed the last request may still be on its way.
        eventually(lambda: not self.gateway.metric("billing_gateway_inflight_bytes"), "the end")
        stored = Counter(eventually(self._agreed, "metrics and topics to agree", DEADLINE_SECONDS))
        assert self.said <= stored
        if every_answer_seen:
            assert self.said == stored
        self.said = stored

    def _agreed(self) -> dict[str, int]:
        stored = {
            "accepted": self._records(self._topics.callbacks.name),
            "parked": self._records(self._topics.dead_letters.name),
        }
        name = "billing_gateway_elements_total"
        counted = {outcome: self.gateway.metric(name, outcome=outcome) for outcome in stored}
        return stored if counted == stored else {}

    def _records(self, topic: str) -> int:
        partitions = self._reader.list_topics(topic, timeout=20).topics[topic].partitions
        return sum(
            self._reader.get_watermark_offsets(TopicPartition(topic, number), timeout=20)[1]
            for number in partitions
        )


def made_up(attempt: Callable[[], None], check: Callable[[], None]) -> int:
    """Run a property over and over, each time from another seed, until the time is up."""
    rounds, until = 0, time.monotonic() + SECONDS
    while not rounds or time.monotonic() < until:
        number = SEED + rounds
        try:
            seed(number)(attempt)()
            check()
        except BaseException as failed:
            failed.add_note(f"repeat it with FUZZ_SEED={number}")
            raise
        rounds += 1
    return rounds


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
    """A request as bytes; `honest` where its framing is right, so that it must get an answer."""

    raw: bytes
    honest: bool


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
def honest(draw: st.DrawFn) -> Sent:
    """A request whose framing is right, and whose body is not larger than is allowed."""
    small = bodies().filter(lambda body: len(body) <= MAX_BODY_BYTES)
    body, headers = draw(small), draw(ODD_HEADERS)
    if draw(st.booleans()):
        return Sent(request([*headers, b"Content-Length: %d" % len(body)], body), honest=True)
    extension = draw(st.sampled_from([b"", b";a=b", b';x="y"']))
    payload = chunked(body, draw(st.sampled_from([1_000, 7, 100_000])), extension)
    return Sent(request([*headers, b"Transfer-Encoding: chunked"], payload), honest=True)


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


EMPTY = Sent(request([b"Content-Length: 0"], b""), honest=True)


def test_honest_requests_get_202_and_the_books_balance(fuzzed: Door) -> None:
    @example([EMPTY])
    @AS_MADE_UP
    @given(st.lists(honest(), min_size=1, max_size=4))
    def answered(sent: list[Sent]) -> None:
        # Several at once: the next are sent before the first is answered.
        raw = b"".join(one.raw for one in sent)
        got = converse(
            fuzzed.gateway.port, raw, len(sent), ends=False, seconds=DEADLINE_SECONDS
        ).answers
        for answer in got:
            fuzzed.note(answer)
        assert [answer.status for answer in got] == [202] * len(sent), (got, raw[:500])

    made_up(answered, lambda: fuzzed.balances(every_answer_seen=True))


def test_lying_requests_end_in_time_and_store_only_what_is_counted(fuzzed: Door) -> None:
    @AS_MADE_UP
    @example(sent=[EMPTY, Sent(b"\xff\xff\r\n\r\n", honest=False)], ends=False)
    @given(st.lists(honest() | lying(), min_size=1, max_size=3), st.booleans())
    def answered(sent: list[Sent], ends: bool) -> None:  # noqa: FBT001 - drawn
        raw = b"".join(one.raw for one in sent)
        raw += request([b"Content-Length: 0"], b"")  # ends what was begun
        # Nobody knows how many requests that is: there is one answer, or they end with the client.
        wanted = len(sent) + 1_000 if ends else 1
        talk = converse(fuzzed.gateway.port, raw, wanted, ends=ends, seconds=DEADLINE_SECONDS)
        for answer in talk.answers:
            fuzzed.note(answer)

    made_up(answered, lambda: fuzzed.balances(every_answer_seen=False))


def test_the_process_said_nothing_of_an_exception(fuzzed: Door) -> None:
    assert (
        fuzzed.gateway.metric("billing_gateway_requests_total", route="callbacks", status="500")
        == 0
    )
    assert "Traceback" not in fuzzed.gateway.server.log.read_text()


DOCUMENT = schemathesis.openapi.from_dict(openapi())
CONFORMS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@DOCUMENT.parametrize()
@settings(AS_MADE_UP, max_examples=max(50, int(SECONDS * 2)))
def test_what_the_document_says_is_what_happens(fuzzed: Door, case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(
        base_url=fuzzed.gateway.url,
        headers={**AUTHORIZED, "traceparent": "x"},
        checks=CONFORMS,
        timeout=DEADLINE_SECONDS,
    )
