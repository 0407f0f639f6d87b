"""Logs that have lost their ends, and what else may be lost at the same time."""

import threading
from typing import Any, Final, cast

import pytest
from confluent_kafka import Consumer, TopicPartition
from prometheus_client import REGISTRY

from consumer.continuity import Continuity
from consumer.extent import Extent
from consumer.offsets import Offsets
from consumer.truncation import NO_EPOCH
from ledger.gap import Gap, Known
from tests.doubles.asking import at_once
from tests.doubles.positions import Books, Log, Member

PLACE: Final = ("callbacks", 3)
COMMITTED: Final = 100
HERE: Final = Known("here", COMMITTED, COMMITTED)


def report(end: int, of: int = 3, before: int = 3) -> str:
    """What the client says of a log that ends its epoch there."""
    return (
        f"log truncation detected at offset 100 (leader epoch {of}): "
        f"broker end offset is {end} (offset leader epoch {before})"
    )


def log(low: int = 0) -> Log:
    """One of 120 records, written by two leaders."""
    return Log(low, 120, {0: 2, 70: 3})


class Placed:
    """A member that has just got a partition, of which the group has committed 100 (epoch 3)."""

    def __init__(self, known: Known | None, log: Log) -> None:
        self.books, self.log = Books(known), log
        self.member = Member(COMMITTED, 3)
        self.offsets = Offsets(log, "group", self.books)
        self.offsets.learn({PLACE[0]}, at_once)
        rules: Any = None
        self._continuity = Continuity(rules, self.books, self.offsets, threading.Event())
        self.assign()

    def assign(self) -> None:
        self.offsets.noted([PLACE], self.member.committed([TopicPartition(*PLACE)], 1))

    def gaps(self) -> list[tuple[int, int, str]]:
        self.offsets.doubted = True
        return [whole(one) for one in self._continuity.gaps([PLACE], at_once)]

    def told(self, said: str) -> int | None:
        """Where it reads on after its client has said this."""
        self.member.told.clear()
        self.offsets.start_over(cast("Consumer", self.member), {PLACE: said}, at_once)
        return self.member.told.get(PLACE)


def whole(one: Gap) -> tuple[int, int, str]:
    return one.since, one.end, one.cause


def test_NOTHING_VANISHES_where_the_ledger_and_the_log_have_lost_their_ends() -> None:
    """What the ledger lacks of the log as it is now is a gap, which is told and repaired."""
    placed = Placed(Known("here", 60, 60), log().cut(80, 4))
    assert placed.gaps() == [], "nobody knows yet up to where"
    assert placed.told(report(80)) == 80
    assert placed.books.moved == []
    assert placed.gaps() == [(60, 80, "behind")]


def test_NOTHING_VANISHES_where_an_idle_member_writes_down_what_it_has_published() -> None:
    placed = Placed(HERE, log())
    placed.offsets.published(batch(100, 100, 3))
    placed.books.knows = Known("here", 60, 60)
    placed.log.cut(80, 4)
    placed.gaps()
    placed.offsets.remember()
    assert placed.books.knows == Known("here", 60, 60), "it does not know what it says"


@pytest.mark.parametrize("known", [None, Known("former", 200, 200)], ids=["new", "other topic"])
def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_where_a_new_ledger_meets_a_log_that_was_cut(
    known: Known | None,
) -> None:
    """It is repaired without events first; the position goes back then."""
    placed = Placed(known, log().cut(80, 4))
    ((since, end, _),) = placed.gaps()
    assert (since, end) == (0, COMMITTED)
    placed.books.knows = HERE
    assert placed.told(report(80)) == 80
    assert placed.books.moved == [(80, 80)]
    assert placed.gaps() == []


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_where_a_ledger_is_new_when_the_client_reports() -> None:
    placed = Placed(None, log().cut(80, 4))
    assert placed.told(report(80)) == 80
    assert placed.gaps() == [(0, 80, "unknown")]


def test_a_batch_says_what_the_group_had_committed_although_the_log_was_cut() -> None:
    """So it is refused, and no gap is hidden behind it."""
    placed = Placed(Known("here", 60, 60), log().cut(80, 4))
    placed.gaps()
    (said,) = placed.offsets.positions(batch(100, 120, 4))
    assert said.committed == COMMITTED
    assert placed.offsets.former_log == {PLACE}
    placed.assign()
    assert placed.offsets.former_log == set()


@pytest.mark.parametrize("high", [75, 175], ids=["it is short", "it is long"])
@pytest.mark.parametrize("again", [False, True], ids=["at once", "the first try fails"])
def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_where_a_log_is_cut_again_before_anything_is_read(
    high: int, *, again: bool
) -> None:
    placed = Placed(HERE, log().cut(65, 4))
    placed.told(report(65, 3, 2))
    placed.log.cut(60, 5).high = high
    if again:
        placed.books.refuses = True
        assert placed.told(report(60, 2, 2)) is None
        placed.books.refuses = False
    assert placed.told(report(60, 2, 2)) == 60
    assert placed.books.moved == [(65, 65), (60, 60)]
    assert placed.member.proven == [(65, 2), (60, 2)]


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_where_an_answer_was_about_another_position() -> None:
    """The record that the group has committed last stands there, and no log was cut."""
    placed = Placed(HERE, log())
    assert placed.told(report(80)) == COMMITTED
    assert placed.books.moved == []


def test_a_report_of_a_position_that_was_read_since_is_old() -> None:
    placed = Placed(HERE, log().cut(80, 4))
    placed.told(report(80))
    placed.offsets.published(batch(80, 101, 4))
    placed.member = Member(101, 4)
    placed.log.high = 101
    # The record is gone by retention: the epoch alone tells.
    placed.log.low = 101
    assert placed.told(report(80)) == 101
    assert placed.books.moved == [(80, 80)]


def test_what_expired_is_not_counted_where_nobody_knows_where_a_log_was_cut() -> None:
    placed = Placed(Known("here", 100, 100), log(90).cut(80, 4))
    assert placed.told("Local: Partition log truncation detected") == 90
    assert placed.books.moved == [(90, 90)]
    assert placed.gaps() == []


def test_a_ledger_that_another_member_has_changed_is_asked_again() -> None:
    """Nothing is counted, and nothing is read on, before the ledger has it written down."""
    placed = Placed(HERE, log(90).cut(80, 4))
    placed.books.refuses = True
    before = expired()
    assert placed.told(report(80)) is None
    assert expired() == before
    placed.books.refuses = False
    assert placed.told(report(80)) == 90
    assert expired() == before + 10
    assert placed.offsets.doubted


def batch(first: int, end: int, epoch: int) -> Extent:
    """Records of the partition."""
    return Extent({PLACE: first}, {PLACE: end}, end - first, epochs={PLACE: epoch})


def expired() -> float:
    """How many records count as deleted before they were read."""
    name = "billing_consumer_expired_records_total"
    return REGISTRY.get_sample_value(name, {"reason": "expired"}) or 0.0


def test_the_epochs_that_nobody_knows_are_not_asked_for() -> None:
    placed = Placed(Known("here", 60, 60), log().cut(80, 4))
    placed.member = Member(COMMITTED, NO_EPOCH)
    placed.assign()
    placed.log.epochs = None  # type: ignore[method-assign,assignment]
    assert placed.gaps() == [(60, 100, "behind")]
