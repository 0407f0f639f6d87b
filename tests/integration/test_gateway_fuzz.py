"""Whatever comes in at the gateway's door: an answer, never a 500, and what was sent is stored.

By itself it makes up the same few hundred each time, however fast the machine is. FUZZ_SECONDS says
how long to go on; FUZZ_SEED where to begin, otherwise anywhere when FUZZ_SECONDS is given.
"""

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import schemathesis
from confluent_kafka import Consumer
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
from tests.clients.wire import Answer, converse
from tests.inputs.fuzzed_requests import EMPTY, MAX_BODY_BYTES, Sent, honest, lying, request
from tests.observers.stored_values import StoredValues
from tests.observers.topics import topic_ends
from tests.processes.gateway import AUTHORIZED, Gateway
from tests.waiting import NET_SECONDS, Stopwatch, eventually

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 0)
ROUNDS = 2
ANYWHERE = secrets.randbelow(2**31) if "FUZZ_SECONDS" in os.environ else 20_261_122
SEED = int(os.environ.get("FUZZ_SEED") or ANYWHERE)
DEADLINE_SECONDS = 20.0
# Of the wall, as the client counts: only a net.
CLIENT_SECONDS = 120.0
BODY_TIMEOUT_SECONDS = 1
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
    pytest.mark.timeout(SECONDS * 2 + 600),
    # Some of what is made up has a mebibyte, and hypothesis wants to be able to show it.
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),
]


@pytest.fixture(scope="module")
def open_door(
    kafka: str, make_topics: Callable[[str], Topics], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., "Door"]]:
    """Starts gateways, each with topics of its own, that end with this module."""
    with ExitStack() as opened:

        def door(**settings: str) -> Door:
            prefix = f"f{secrets.token_hex(5)}."
            topics = make_topics(prefix)
            settings["GATEWAY_MAX_BODY_BYTES"] = str(MAX_BODY_BYTES)
            gateway = Gateway(kafka, prefix, tmp_path_factory.mktemp("fuzzed"), **settings)
            gateway.start()
            opened.callback(gateway.stop)
            gateway.ready()
            return opened.enter_context(closing(Door(gateway, kafka, topics)))

        yield door


@pytest.fixture(scope="module")
def fuzzed(open_door: Callable[..., "Door"]) -> "Door":
    """A gateway as it is deployed: on a busy machine an honest body may take its time."""
    return open_door()


@pytest.fixture(scope="module")
def lied_to(open_door: Callable[..., "Door"]) -> "Door":
    """A gateway that gives up slow bodies soon."""
    return open_door(GATEWAY_BODY_TIMEOUT_S=str(BODY_TIMEOUT_SECONDS))


class Door:
    """The gateway under test, and what it has said and stored."""

    def __init__(self, gateway: Gateway, kafka: str, topics: Topics) -> None:
        self.gateway = gateway
        self.said = Counter[str]()
        self.statuses = Counter[int]()
        self.sent = Counter[bytes]()
        self._topics = topics
        self._stored = StoredValues(kafka, [topics.callbacks.name, topics.dead_letters.name])
        self._reader = Consumer({"bootstrap.servers": kafka, "group.id": "fuzz"})

    def close(self) -> None:
        """Leave the broker."""
        self._reader.close()
        self._stored.close()

    def take(self, sent: list[Sent]) -> None:
        """Send honest requests, the next before the first is answered, and note what must come."""
        raw = b"".join(one.raw for one in sent)
        got = converse(
            self.gateway.port, raw, len(sent), ends=False, seconds=DEADLINE_SECONDS
        ).answers
        for one, answer in zip(sent, got, strict=True):
            self.note(answer)
            assert answer.status == one.status, (answer, one.raw[:500])
            if answer.status == 202:
                counts = json.loads(answer.body)
                assert counts["accepted"] + counts["parked"] == len(one.values), one.raw[:500]
            self.sent.update(one.values)

    def has_stored_what_was_sent(self) -> None:
        """NOTHING_VANISHES: since the last time, every value sent is on a topic, and no other."""
        stored = Counter(self._stored.read_on())
        assert stored == self.sent, (list(self.sent - stored)[:3], list(stored - self.sent)[:3])
        self.sent.clear()

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
        return sum(topic_ends(self._reader, topic).values())


def made_up(attempt: Callable[[], None], check: Callable[[], None]) -> int:
    """Run a property `ROUNDS` times, each from another seed, and on until the time is up."""
    rounds, until = 0, time.monotonic() + SECONDS
    while rounds < ROUNDS or time.monotonic() < until:
        number = SEED + rounds
        try:
            seed(number)(attempt)()
            check()
        except BaseException as failed:
            failed.add_note(f"repeat it with FUZZ_SEED={number}")
            raise
        rounds += 1
    return rounds


def test_report_01_what_honest_requests_send_is_stored_and_each_gets_its_answer(
    fuzzed: Door,
) -> None:
    @example([EMPTY])
    @AS_MADE_UP
    @given(st.lists(honest(), min_size=1, max_size=4))
    def answered(sent: list[Sent]) -> None:
        fuzzed.take(sent)

    def check() -> None:
        fuzzed.has_stored_what_was_sent()
        fuzzed.balances(every_answer_seen=True)

    made_up(answered, check)


def test_lying_requests_end_in_time_and_store_only_what_is_counted(lied_to: Door) -> None:
    @AS_MADE_UP
    @example(sent=[EMPTY, Sent(b"\xff\xff\r\n\r\n", honest=False)], ends=False)
    @given(st.lists(honest() | lying(), min_size=1, max_size=3), st.booleans())
    def answered(sent: list[Sent], ends: bool) -> None:  # noqa: FBT001 - drawn
        raw = b"".join(one.raw for one in sent)
        raw += request([b"Content-Length: 0"], b"")  # ends what was begun
        # Nobody knows how many requests that is: there is one answer, or they end with the client.
        wanted = len(sent) + 1_000 if ends else 1
        talk = converse(lied_to.gateway.port, raw, wanted, ends=ends, seconds=DEADLINE_SECONDS)
        for answer in talk.answers:
            lied_to.note(answer)

    made_up(answered, lambda: lied_to.balances(every_answer_seen=False))


def test_no_process_said_anything_of_an_exception(fuzzed: Door, lied_to: Door) -> None:
    for door in (fuzzed, lied_to):
        name = "billing_gateway_requests_total"
        assert door.gateway.metric(name, route="callbacks", status="500") == 0
        assert "Traceback" not in door.gateway.server.log.read_text()


DOCUMENT = schemathesis.openapi.from_dict(openapi())
CONFORMS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@DOCUMENT.parametrize()
@settings(AS_MADE_UP, max_examples=max(EXAMPLES // 2, int(SECONDS * 2)))
def test_what_the_document_says_is_what_happens(fuzzed: Door, case: schemathesis.Case[Any]) -> None:
    watch = Stopwatch()
    case.call_and_validate(
        base_url=fuzzed.gateway.url,
        headers={**AUTHORIZED, "traceparent": "x"},
        checks=CONFORMS,
        timeout=NET_SECONDS,
    )
    assert watch.seconds() < DEADLINE_SECONDS
