"""Where a member reads on when its client reports that a partition has no valid offset."""

import threading
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition
from structlog.testing import capture_logs

from consumer.assignment import Assignment
from consumer.continuity import Continuity
from consumer.health import Health
from consumer.offsets import Offsets
from consumer.truncation import NO_EPOCH
from ledger.gap import Known
from tests.doubles.asking import at_once
from tests.doubles.positions import Books, Log, Member

PLACE = ("callbacks", 3)
LOW, HIGH = 10, 20
NOW = 4
HERE = Known("here", 17, 12)
WHY = "no previously committed offset available: Local: No offset stored"


def starting() -> Offsets:
    """What is tried: of a ledger that knows what had been published before the last batch."""
    return Offsets(Log(LOW, HIGH, {0: NOW}), "group", Books(HERE))


@pytest.mark.parametrize(
    ("committed", "reads_on", "reset"),
    [(17, 17, "committed"), (HIGH + 1, 12, "remembered"), (None, 12, "remembered")],
    ids=["there all the same", "past the end", "none"],
)
def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_the_group_is_asked_before_the_ledger_is(
    committed: int | None, reads_on: int, reset: str
) -> None:
    member = Member(committed)
    offsets = starting()
    assignment = Assignment(offsets, Health(60))
    assignment.places.add(PLACE)
    assignment.lacks_offset(PLACE, WHY)
    with capture_logs() as logs:
        assignment.position(cast("Consumer", member), at_once)
    assert member.told == {PLACE: reads_on}
    assert assignment.positioned == {PLACE}
    assert (PLACE in offsets.comparable([PLACE])) is (reset == "committed")
    (line,) = logs
    assert (line["reset"], line["client"]) == (reset, [WHY])


@pytest.mark.parametrize(
    ("epoch", "reads_on", "proven"),
    [(3, 14, [(14, 2)]), (4, 17, [(17, 4)])],
    ids=["it is read from there", "another member has read on from there"],
)
def test_ACCEPTED_IS_DURABLE_where_the_client_reports_that_the_log_was_cut(
    epoch: int, reads_on: int, proven: list[tuple[int, int]]
) -> None:
    member = Member(17, epoch)
    offsets = starting()
    cut = (
        "log truncation detected at offset 17 (leader epoch 3): "
        "broker end offset is 14 (offset leader epoch 2)"
    )
    offsets.start_over(cast("Consumer", member), {PLACE: cut}, at_once)
    assert member.told == {PLACE: reads_on}
    # It may be cut once more before it is read.
    assert member.proven == proven


@pytest.mark.parametrize(
    ("epoch", "lacks"),
    [(NOW - 1, False), (NOW, True), (NO_EPOCH, True)],
    ids=["the log was cut", "the ledger went back", "nobody knows"],
)
def test_a_ledger_lacks_nothing_of_what_a_log_has_lost(epoch: int, *, lacks: bool) -> None:
    member = Member(19, epoch)
    offsets = starting()
    offsets.noted([PLACE], member.committed([TopicPartition(*PLACE)], 1))
    rules: Any = None
    offsets.learn({PLACE[0]}, at_once)
    found = Continuity(rules, Books(HERE), offsets, threading.Event()).gaps([PLACE], at_once)
    assert [(one.since, one.end) for one in found] == ([(17, 19)] if lacks else [])
    # What the group has committed says nothing of the log as it is now.
    assert (PLACE in offsets.comparable([PLACE])) is lacks


def test_a_partition_that_has_left_is_not_placed() -> None:
    member = Member(17)
    offsets = starting()
    assignment = Assignment(offsets, Health(60))
    assignment.places.add(PLACE)
    assignment.lacks_offset(PLACE, WHY)
    assignment.position(cast("Consumer", member), at_once, in_hand=[PLACE])
    assert member.told == {}
    assert assignment.positioned == set()
    assignment.places.discard(PLACE)
    assignment.position(cast("Consumer", member), at_once)
    assert member.told == {}
