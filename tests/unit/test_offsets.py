"""Where to read on when Kafka has no valid offset of the group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.offsets import Start, first_offsets, next_offsets, start
from consumer.record import Published
from tests.services.callbacks import record


def published(next_offset: int, topic_id: str = "here") -> Published:
    """What the ledger remembers."""
    return Published("group", "topic", 0, topic_id, next_offset)


@pytest.mark.parametrize(
    ("known", "topic_id", "expected"),
    [
        (None, "here", Start(10, "first_time")),
        (published(10), "here", Start(10, "remembered")),
        (published(15), "here", Start(15, "remembered")),
        (published(20), "here", Start(20, "remembered")),
        (published(21), "here", Start(10, "truncated")),
        (published(7), "here", Start(10, "expired", 3)),
        (published(15, "gone"), "here", Start(10, "other_topic")),
        (published(15), "", Start(10, "other_topic")),
        (published(15, ""), "", Start(10, "other_topic")),
    ],
)
def test_where_to_read_on(known: Published | None, topic_id: str, expected: Start) -> None:
    assert start(known, topic_id, 10, 20) == expected


@given(known=st.integers(0, 50), low=st.integers(0, 30), size=st.integers(0, 30))
def test_nothing_that_kafka_has_and_nobody_published_is_passed_over(
    known: int, low: int, size: int
) -> None:
    found = start(published(known), "here", low, low + size)
    assert low <= found.offset <= low + size
    assert found.offset in (low, known)
    assert found.expired == max(low - known, 0)


def test_a_batch_begins_and_ends_by_partition() -> None:
    places = [("a", 0, 7), ("a", 1, 3), ("a", 0, 8), ("b", 0, 1)]
    batch = [record(b"", topic=topic, partition=part, offset=at) for topic, part, at in places]
    assert first_offsets(batch) == {("a", 0): 7, ("a", 1): 3, ("b", 0): 1}
    ends = {(part.topic, part.partition): part.offset for part in next_offsets(batch)}
    assert ends == {("a", 0): 9, ("a", 1): 4, ("b", 0): 2}
