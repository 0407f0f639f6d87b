"""Where to read on when Kafka has no valid offset of the group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.extent import Extent
from consumer.start import Start, moves, start
from consumer.truncation import Cut
from ledger.gap import Known
from tests.inputs.callbacks import record


def published(next_offset: int, topic_id: str = "here", written: int | None = None) -> Known:
    """What the ledger remembers."""
    return Known(topic_id, next_offset if written is None else written, next_offset)


@pytest.mark.parametrize(
    ("known", "topic_id", "expected"),
    [
        (None, "here", Start(10, "first_time", 10)),
        (published(10), "here", Start(10, "remembered")),
        (published(15), "here", Start(15, "remembered")),
        (published(20), "here", Start(20, "remembered")),
        (published(21), "here", Start(10, "truncated")),
        (published(7), "here", Start(10, "expired", 3)),
        (published(7, written=9), "here", Start(10, "expired", 1)),
        (published(7, written=12), "here", Start(10, "expired", 0)),
        (published(15, "gone"), "here", Start(10, "other_topic", 10)),
        (published(15), "", Start(10, "other_topic", 10)),
        (published(15, ""), "", Start(10, "other_topic", 10)),
    ],
)
def test_where_to_read_on(known: Known | None, topic_id: str, expected: Start) -> None:
    assert start(known, topic_id, 10, 20) == expected


@pytest.mark.parametrize(
    ("known", "committed", "expired"),
    [
        (None, 4, 6),
        (None, 21, 10),
        (published(3), 4, 6),
        (published(6), 4, 4),
        (published(6, "gone"), 4, 6),
    ],
    ids=["no ledger", "past the end", "Kafka knew more", "the ledger knew more", "other topic"],
)
def test_what_was_read_before_it_was_deleted_is_not_counted(
    known: Known | None, committed: int, expired: int
) -> None:
    assert start(known, "here", 10, 20, committed).expired == expired


@pytest.mark.parametrize(
    ("known", "committed", "expected"),
    [
        (published(12, written=17), 17, Start(17, "committed")),
        (published(12), 10, Start(10, "committed")),
        (published(12), 20, Start(20, "committed")),
        (published(12), 21, Start(12, "remembered")),
        (published(12), 9, Start(10, "committed")),
        (published(12), None, Start(12, "remembered")),
        (published(9, written=17), 17, Start(17, "committed")),
        (published(12, "gone"), 17, Start(10, "other_topic", 0)),
        (None, 17, Start(10, "first_time", 0)),
    ],
    ids=[
        "in the midst",
        "the first",
        "the end",
        "past the end",
        "older, and deleted",
        "none",
        "ahead of the ledger",
        "other topic",
        "no ledger",
    ],
)
def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_a_committed_offset_that_kafka_has_is_valid(
    known: Known | None, committed: int | None, expected: Start
) -> None:
    """Whatever the client says of it: the ledger only knows what came before its last batch."""
    assert start(known, "here", 10, 20, committed) == expected


@pytest.mark.parametrize(
    ("known", "committed", "cut", "expected"),
    [
        (published(17), 17, 13, Start(13, "truncated")),
        (published(17), 17, 17, Start(17, "committed")),
        (published(17), 21, 13, Start(13, "truncated")),
        (published(17), 17, 8, Start(10, "truncated", 2)),
        (published(12), None, 11, Start(12, "remembered")),
        (published(17, "gone"), 17, 13, Start(10, "other_topic", 0)),
        (published(9), 17, 13, Start(13, "truncated")),
        (None, 17, 13, Start(13, "truncated")),
        (None, None, 13, Start(10, "first_time", 10)),
        (published(17), 17, None, Start(10, "truncated")),
        (published(7), 8, None, Start(10, "expired", 2)),
    ],
    ids=[
        "before",
        "at the end",
        "and is short",
        "and expired",
        "unread",
        "other topic",
        "behind",
        "new",
        "new, and unread",
        "nobody knows where",
        "nobody knows where, and expired",
    ],
)
def test_ACCEPTED_IS_DURABLE_what_stands_where_the_log_was_cut_is_read(
    known: Known | None, committed: int | None, cut: int | None, expected: Start
) -> None:
    assert start(known, "here", 10, 20, committed, cut=Cut(cut)) == expected


@pytest.mark.parametrize(
    ("known", "chosen", "lost"),
    [
        (published(17), Start(13, "truncated"), [(13, 13)]),
        (published(13), Start(13, "truncated"), []),
        (published(12), Start(13, "truncated"), []),
        (None, Start(13, "truncated"), []),
        (published(17), Start(15, "truncated", 2), [(13, 15)]),
        (published(14), Start(15, "truncated", 2), [(13, 15)]),
        (published(13), Start(15, "truncated", 2), [(13, 15)]),
        (published(12), Start(15, "truncated", 2), []),
    ],
)
def test_a_ledger_that_knows_less_than_where_a_log_was_cut_is_not_told(
    known: Known | None, chosen: Start, lost: list[tuple[int, int]]
) -> None:
    """It would hide what it has lost itself; what expired is counted with that then."""
    place = ("callbacks", 0)
    told = moves({place: chosen}, {} if known is None else {place: known}, {"callbacks": "here"})
    assert [(one.lost_from, one.offset) for one in told] == lost


@pytest.mark.parametrize(
    ("published_offset", "expected"),
    [(12, Start(10, "committed")), (10, Start(10, "committed")), (9, Start(10, "expired", 1))],
)
def test_what_is_left_of_records_that_are_read_again_is_read(
    published_offset: int, expected: Start
) -> None:
    """Whoever has set the offset back, Kafka or a person."""
    assert start(published(published_offset), "here", 10, 20, 4) == expected


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
    extent = Extent.of(batch)
    assert extent.first == {("a", 0): 7, ("a", 1): 3, ("b", 0): 1}
    ends = {(part.topic, part.partition): part.offset for part in extent.next_offsets}
    assert ends == extent.end == {("a", 0): 9, ("a", 1): 4, ("b", 0): 2}
    assert extent.records == 4
