"""From a body to its records."""

import hashlib
import json
from datetime import UTC, datetime

import pytest

from producer_gateway.preparer import HEADROOM_BYTES, Envelope, Preparer
from producer_gateway.store import Record
from runtime import VERSION
from schemas.headers import header
from schemas.topics import load_topics
from tests.inputs import captures
from tests.inputs.callbacks import element

TOPICS = load_topics("test.")
LIMIT = TOPICS.callbacks.max_message_bytes - HEADROOM_BYTES
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ENVELOPE = Envelope(
    source="litellm/eu",
    content_type="application/json",
    traceparent=TRACEPARENT,
    received_at=datetime(2026, 11, 22, 10, 0, 0, 123456, UTC),
)


def prepare(body: bytes, *, drop: bool = False) -> list[Record]:
    """The records of a body."""
    return Preparer(TOPICS, drop_content=drop).prepare(body, ENVELOPE).records


def only(body: bytes, *, drop: bool = False) -> Record:
    """The one record of a body."""
    [record] = prepare(body, drop=drop)
    return record


def joined(parts: list[Record]) -> bytes:
    """What the parts of a dead letter hold together."""
    whole = b"".join(part.value for part in parts)
    digest = hashlib.sha256(whole).hexdigest()
    for index, part in enumerate(parts):
        assert header(part.headers, "part-index") == str(index)
        assert header(part.headers, "part-count") == str(len(parts))
        assert header(part.headers, "body-sha256") == digest
        assert len(part.value) <= TOPICS.dead_letters.max_message_bytes - HEADROOM_BYTES
    return whole


def test_a_record_says_where_it_came_from() -> None:
    raw = element()
    assert only(b"[" + raw + b"]") == Record(
        "test.billing.callbacks.v1",
        b"run-1",
        raw,
        [
            ("source", b"litellm/eu"),
            ("received-at", b"2026-11-22T10:00:00.123Z"),
            ("content-type", b"application/json"),
            ("gateway-version", VERSION.encode()),
            ("traceparent", TRACEPARENT.encode()),
            ("call-key", b"call-1|chatcmpl-1"),
        ],
    )


def test_ONE_RUN_ONE_PARTITION_by_the_key() -> None:
    body = captures.array([element(id="a"), element(id="b"), element(id="c", metadata=None)])
    assert [record.key for record in prepare(body)] == [b"run-1", b"run-1", b"call-1|c"]


def test_headers_of_one_record_are_not_those_of_another() -> None:
    first, second = prepare(captures.array([element(id="a"), element(id="b")]))
    assert header(first.headers, "call-key") == "call-1|a"
    assert header(second.headers, "call-key") == "call-1|b"


@pytest.mark.parametrize("file", captures.files())
def test_RAW_BYTES_SURVIVE(file: str) -> None:
    assert [record.value for record in prepare(captures.body(file))] == captures.elements(file)


def test_what_strict_json_refuses_is_marked() -> None:
    odd = element()[:-1] + b', "x": -Infinity}'
    strict, lenient = prepare(captures.array([element(), odd]))
    assert header(strict.headers, "lenient-json") is None
    assert header(lenient.headers, "lenient-json") == "true"
    assert lenient.value == odd
    assert lenient.topic == "test.billing.callbacks.v1"


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (b"1", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b'[{"id":"a"}]', "not_an_object"),
        (b"undefined", "unreadable"),
        (b"{}", "no_usable_id"),
        (b'{"id":""}', "no_usable_id"),
        (b'{"id":true,"litellm_call_id":[7]}', "no_usable_id"),
        (b'{"id":"a" "status":1}', "unreadable"),
        (b'{"id":"a","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "unreadable"),
    ],
)
@pytest.mark.parametrize("drop", [False, True])
def test_what_cannot_be_billed_is_parked_alone(*, callback: bytes, reason: str, drop: bool) -> None:
    before, parked, after = prepare(
        captures.array([element(id="a"), callback, element(id="b")]), drop=drop
    )
    assert parked.topic == "test.billing.callbacks.v1.dlq"
    assert parked.value == callback
    assert parked.key == hashlib.sha256(callback).hexdigest().encode()
    assert header(parked.headers, "reason") == reason
    assert header(parked.headers, "source") == "litellm/eu"
    assert header(parked.headers, "call-key") is None
    assert {before.topic, after.topic} == {"test.billing.callbacks.v1"}


def test_prepared_counts_elements_not_records() -> None:
    body = captures.array([b"null", element(), b"7", b'{"id":"' + b"x" * 3 * LIMIT + b'"}'])
    prepared = Preparer(TOPICS, drop_content=False).prepare(body, ENVELOPE)
    assert (prepared.accepted, prepared.nulls) == (1, 1)
    assert prepared.parked == {"not_an_object": 1, "too_large": 1}
    assert len(prepared.records) > 3


def test_an_oversize_prompt_is_cut_and_the_record_says_so() -> None:
    raw = element(messages="x" * (LIMIT + 1))
    record = only(captures.array([raw]))
    assert record.topic == "test.billing.callbacks.v1"
    assert record.key == b"run-1"
    kept = {name: value for name, value in json.loads(raw).items() if name != "messages"}
    assert json.loads(record.value) == kept
    assert header(record.headers, "content-dropped") == "oversize"
    assert header(record.headers, "original-bytes") == str(len(raw))
    assert header(record.headers, "original-sha256") == hashlib.sha256(raw).hexdigest()


def test_an_element_oversize_elsewhere_keeps_what_billing_reads() -> None:
    raw = element(unheard_of="x" * (LIMIT + 1))
    record = only(captures.array([raw]))
    assert header(record.headers, "content-dropped") == "minimal"
    assert "unheard_of" not in json.loads(record.value)
    assert json.loads(record.value)["response_cost"] == 0.000036


def test_an_element_just_within_the_limit_is_left_alone() -> None:
    raw = element(messages="")
    raw = raw.replace(b'"messages": ""', b'"messages": "%s"' % (b"x" * (LIMIT - len(raw))))
    assert len(raw) == LIMIT
    assert only(raw).value == raw


def test_what_is_still_too_large_is_parked_in_parts() -> None:
    raw = element(metadata={"spend_logs_metadata": {"run_id": "run-1", "x": "y" * 2 * LIMIT}})
    parts = prepare(captures.array([raw]))
    assert len(parts) > 1
    assert joined(parts) == raw
    assert {part.topic for part in parts} == {"test.billing.callbacks.v1.dlq"}
    assert {part.key for part in parts} == {b"run-1"}
    assert {header(part.headers, "reason") for part in parts} == {"too_large"}
    assert {header(part.headers, "content-dropped") for part in parts} == {None}


def test_a_body_that_is_no_json_is_parked_whole() -> None:
    body = b"no json here, " * (LIMIT // 10)
    parts = prepare(body)
    assert len(parts) > 1
    assert joined(parts) == body


def test_dropping_content_cuts_callbacks_and_readable_dead_letters() -> None:
    callback, parked = prepare(
        captures.array(
            [element(messages="SECRET"), element(id=None, litellm_call_id=None, messages="SECRET")]
        ),
        drop=True,
    )
    for record in (callback, parked):
        assert b"SECRET" not in record.value
        assert header(record.headers, "content-dropped") == "policy"
    assert header(parked.headers, "reason") == "no_usable_id"


def test_dropping_content_says_nothing_where_there_was_none() -> None:
    raw = b'{"id":"a"}'
    record = only(raw, drop=True)
    assert record.value == raw
    assert header(record.headers, "content-dropped") is None
