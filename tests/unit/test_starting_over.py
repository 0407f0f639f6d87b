"""Where a member reads on when its client reports that a partition has no valid offset."""

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, TopicPartition
from structlog.testing import capture_logs

from consumer.assignment import Assignment
from consumer.continuity import Continuity
from consumer.health import Health
from consumer.offsets import Offsets
from consumer.start import Place
from consumer.truncation import NO_EPOCH
from ledger.gap import Known
from ledger.positions import Move
from ledger.receipts import ReceiptWriter
from schemas.record import Record
from tests.doubles.asking import at_once

PLACE = ("callbacks", 3)
LOW, HIGH = 10, 20
NOW = 4
WHY = "no previously committed offset available: Local: No offset stored"


class Member:
    """A client of a group that has committed one offset, or none."""

    def __init__(self, committed: int | None, epoch: int = NO_EPOCH) -> None:
        self._committed = OFFSET_INVALID if committed is None else committed
        self._epoch = epoch
        self.told: dict[Place, int] = {}
        self.proven: list[tuple[int, int]] = []

    def committed(
        self,
        partitions: Sequence[TopicPartition],
        timeout: float,  # noqa: ARG002 - the client's signature
    ) -> list[TopicPartition]:
        return [
            TopicPartition(part.topic, part.partition, self._committed, leader_epoch=self._epoch)
            for part in partitions
        ]

    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        for part in partitions:
            self.told.pop((part.topic, part.partition), None)

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.told |= {(part.topic, part.partition): part.offset for part in partitions}

    def seek(self, part: TopicPartition) -> None:
        self.proven.append((part.offset, part.leader_epoch))


class Books(ReceiptWriter):
    """A ledger that knows what had been published before the last batch."""

    def __init__(self) -> None:
        """Without a database."""

    def known(self, group: str, places: Collection[Place]) -> dict[Place, Known]:  # noqa: ARG002 - one group
        return {place: Known("id of callbacks", 17, 12) for place in places}

    def move(self, group: str, moves: Sequence[Move]) -> list[Move]:  # noqa: ARG002 - one group
        return list(moves)


class Told:
    """What a cluster says of its topics."""

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        return {topic: f"id of {topic}" for topic in topics}

    def ends(self, places: Collection[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        return dict.fromkeys(places, LOW), dict.fromkeys(places, HIGH)

    def epochs(self, offsets: Mapping[Place, int]) -> dict[Place, int]:
        return dict.fromkeys(offsets, NOW)

    def read(self, *_: object) -> Iterator[list[Record]]:
        yield from ()


@pytest.mark.parametrize(
    ("committed", "reads_on", "reset"),
    [(17, 17, "committed"), (HIGH + 1, 12, "remembered"), (None, 12, "remembered")],
    ids=["there all the same", "past the end", "none"],
)
def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_the_group_is_asked_before_the_ledger_is(
    committed: int | None, reads_on: int, reset: str
) -> None:
    member, offsets = Member(committed), Offsets(Told(), "group", Books())
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
    member, offsets = Member(17, epoch), Offsets(Told(), "group", Books())
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
    member, offsets = Member(19, epoch), Offsets(Told(), "group", Books())
    offsets.noted([PLACE], member.committed([TopicPartition(*PLACE)], 1))
    rules: Any = None
    offsets.learn({PLACE[0]}, at_once)
    found = Continuity(rules, Books(), offsets, threading.Event()).gaps([PLACE], at_once)
    assert [(one.since, one.end) for one in found] == ([(17, 19)] if lacks else [])
    # What the group has committed says nothing of the log as it is now.
    assert (PLACE in offsets.comparable([PLACE])) is lacks


def test_a_partition_that_has_left_is_not_placed() -> None:
    member, offsets = Member(17), Offsets(Told(), "group", Books())
    assignment = Assignment(offsets, Health(60))
    assignment.places.add(PLACE)
    assignment.lacks_offset(PLACE, WHY)
    assignment.position(cast("Consumer", member), at_once, in_hand=[PLACE])
    assert member.told == {}
    assert assignment.positioned == set()
    assignment.places.discard(PLACE)
    assignment.position(cast("Consumer", member), at_once)
    assert member.told == {}
