"""Taking a record is total: whatever a producer wrote, it is taken, decided and kept whole."""

import ctypes
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charging.decision import MOST_BYTES, decide
from charging.outcomes import Charge, Deferred, Parked, Skipped, SkippedReason, Usage
from consumer.letter import Letter, letters
from runtime.records import read_headers
from schemas import headers as names
from schemas.headers import FoundHeaders, Reason, header
from schemas.receipt import to_kafka
from schemas.record import Record
from tests.inputs.callbacks import (
    CALLBACKS,
    RECEIVED_MS,
    USAGE_UNITS,
    element,
    policy,
)

ROOM = 10_551_296
NAMES = st.text(max_size=12) | st.sampled_from(
    ["source", "received-at", "settled-by", "settled-note", "reason", "original-topic", "call-key"]
)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=20)), max_size=6)
MOMENTS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-1, 0, 1, RECEIVED_MS, 2**63 - 1])


def nameless(value: bytes | None) -> tuple[Any, ...]:
    """A pair as confluent-kafka leaves it behind: its first half is not there at all."""
    api = ctypes.pythonapi
    api.PyTuple_New.restype = ctypes.py_object
    api.PyTuple_SetItem.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.py_object]
    pair = api.PyTuple_New(2)
    api.Py_IncRef(ctypes.py_object(value))
    api.PyTuple_SetItem(id(pair), 1, value)
    made: tuple[Any, ...] = pair
    return made


class Refusing:
    """A message whose `headers()` raises as the client's does, then gives what was left."""

    def __init__(self, error: Exception, left: object) -> None:
        self._answers: list[object] = [error, left]

    def headers(self) -> object:
        """The next answer."""
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def refused(left: object, error: Exception | None = None) -> Any:  # noqa: ANN401 - a message
    """What `read_headers` makes of such a message."""
    message: Any = Refusing(error or SystemError("returned a result with an exception set"), left)
    return read_headers(message)


def test_02_a_header_whose_name_is_no_utf8_loses_its_name_and_nothing_else() -> None:
    left = [nameless(b"1"), ("source", b"litellm"), nameless(None), ("empty", None)]
    found = refused(left)
    assert found == (
        [("\ufffd", b"1"), ("source", b"litellm"), ("\ufffd", None), ("empty", None)],
        2,
    )


@pytest.mark.parametrize("left", [None, (), "text", SystemError("again")])
def test_where_the_client_hands_out_nothing_the_record_is_kept_aside(left: object) -> None:
    assert refused(left) is None
    taken = Record(CALLBACKS, 0, 1, RECEIVED_MS, b"k", element(), (), 0, -1)
    decision = decide(taken, policy())
    assert isinstance(decision, Parked)
    assert decision.reason == "headers_unreadable"


@pytest.mark.parametrize("topic", [CALLBACKS, USAGE_UNITS])
def test_a_tombstone_is_skipped_on_both_topics(topic: str) -> None:
    for names_lost in (0, -1):
        taken = Record(topic, 0, 1, RECEIVED_MS, None, None, (), 0, names_lost)
        assert decide(taken, policy()) == Skipped(SkippedReason.TOMBSTONE)


@pytest.mark.parametrize("topic", [CALLBACKS, USAGE_UNITS])
def test_an_empty_value_is_no_tombstone(topic: str) -> None:
    assert isinstance(decide(Record(topic, 0, 1, RECEIVED_MS, b"", b"", ()), policy()), Parked)


def test_a_value_that_no_topic_takes_uncompressed_is_not_read() -> None:
    for size, reason in ((MOST_BYTES, "unreadable"), (MOST_BYTES + 1, "too_large")):
        taken = Record(CALLBACKS, 0, 1, RECEIVED_MS, None, b"{" + b" " * (size - 1), ())
        decision = decide(taken, policy())
        assert isinstance(decision, Parked)
        assert decision.reason == reason


@given(
    value=st.sampled_from([element(), element(startTime=None, endTime=None), element(id=None)])
    | st.none()
    | st.binary(max_size=20),
    headers=HEADERS,
    timestamp_ms=MOMENTS,
    taken_ms=st.sampled_from([0, RECEIVED_MS]),
    topic=st.sampled_from([CALLBACKS, USAGE_UNITS]),
)
@example(element(startTime=None, endTime=None), [], 2**63 - 1, 0, CALLBACKS)
@example(element(startTime=None, endTime=None), [], -(2**63), RECEIVED_MS, CALLBACKS)
@example(element(), [("source", None), ("received-at", b"9" * 5_000)], 0, 0, CALLBACKS)
@example(element(), [("settled-by", b"\xff\x00"), ("settled-note", None)], 0, 0, CALLBACKS)
def test_whatever_the_headers_and_the_time_a_record_is_decided(
    value: bytes | None, headers: FoundHeaders, timestamp_ms: int, taken_ms: int, topic: str
) -> None:
    taken = Record(topic, 0, 1, timestamp_ms, b"k", value, headers, taken_ms)
    decision = decide(taken, policy())
    assert isinstance(decision, Charge | Deferred | Skipped | Parked | Usage)
    if isinstance(decision, Charge):
        message = to_kafka(decision.receipt)
        assert message.headers["ce_source"].startswith(b"/billing/")
        assert decision.receipt.occurred_at.year >= 2020


@pytest.mark.parametrize("timestamp_ms", [2**62, 253_402_300_800_000, 0, -1, -(2**63)])
def test_a_time_that_no_date_can_hold_is_not_believed(timestamp_ms: int) -> None:
    value = element(startTime=None, endTime=None)
    taken = Record(CALLBACKS, 0, 1, timestamp_ms, b"k", value, (), RECEIVED_MS)
    decision = decide(taken, policy())
    assert isinstance(decision, Charge)
    assert decision.receipt.occurred_at == datetime.fromtimestamp(RECEIVED_MS / 1_000, UTC)


def parked(
    key: bytes | None, value: bytes, headers: FoundHeaders, limit: int = ROOM
) -> Sequence[Letter]:
    """The letters of a record that cannot be read."""
    taken = Record("t", 3, 7, -5, key, value, headers)
    return list(letters(taken, Parked(Reason.UNREADABLE, "no JSON"), "group", limit))


@given(st.none() | st.binary(max_size=30), st.binary(max_size=200), HEADERS)
def test_a_dead_letter_is_the_record_byte_for_byte(
    key: bytes | None, value: bytes, headers: FoundHeaders
) -> None:
    [letter] = parked(key, value, headers)
    assert (letter.key, letter.value) == (key, value)
    assert letter.headers[: len(headers)] == list(headers)
    added = letter.headers[len(headers) :]
    assert header(added, names.REASON) == "unreadable"
    assert header(added, names.ORIGINAL_TIMESTAMP) == "-5"
    assert header(letter.headers, names.ORIGINAL_TOPIC) == "t"


def size(letter: Letter) -> int:
    """What Kafka counts of a letter, at least."""
    inside = sum(len(name.encode()) + len(value or b"") for name, value in letter.headers)
    return inside + len(letter.key or b"") + len(letter.value or b"")


@given(
    key=st.integers(0, 60_000),
    value=st.integers(0, 60_000),
    headers=st.lists(st.integers(0, 30_000), max_size=20),
)
@example(60_000, 60_000, [0] * 20)
@example(0, 16_384, [])
def test_what_no_topic_takes_in_one_piece_goes_in_parts(
    key: int, value: int, headers: list[int]
) -> None:
    """Kafka bounds compressed batches, so a producer can write what is far larger."""
    limit, sent = 16_384, bytes(range(256)) * (value // 256) + b"x" * (value % 256)
    own = [(f"h{number}", b"h" * count) for number, count in enumerate(headers)]
    found = parked(b"k" * key, sent, own, limit)
    assert b"".join(letter.value or b"" for letter in found) == sent
    assert all(size(letter) <= limit - 512 for letter in found)
    for letter in found:
        kept = [one for one in letter.headers if one[0].startswith("h") and one[0][1:].isdigit()]
        assert kept == own[: len(kept)]
        cut = header(letter.headers, names.HEADERS_CUT)
        assert int(cut or 0) == len(own) - len(kept)
        assert (letter.key == b"k" * key) == (header(letter.headers, names.KEY_CUT) is None)
    if len(found) > 1:
        numbers = [header(letter.headers, names.PART_INDEX) for letter in found]
        assert numbers == [str(number) for number in range(len(found))]
        assert header(found[0].headers, names.PART_COUNT) == str(len(found))
