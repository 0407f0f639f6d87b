"""A group of one member, a ledger that knows one position, and a log with epochs: in memory."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Self

from confluent_kafka import OFFSET_INVALID, TopicPartition

from consumer.start import Place
from consumer.truncation import NO_EPOCH
from ledger.gap import Known, LedgerBehindError, Published
from ledger.positions import Move
from ledger.receipts import ReceiptWriter
from schemas.record import Record


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
    """A ledger that knows so much, and learns what it is told."""

    def __init__(self, known: Known | None) -> None:
        """Without a database."""
        self.knows = known
        self.moved: list[tuple[int, int]] = []
        self.refuses = False

    def known(self, group: str, places: Collection[Place]) -> dict[Place, Known]:  # noqa: ARG002 - one group
        return {} if self.knows is None else dict.fromkeys(places, self.knows)

    def move(self, group: str, moves: Sequence[Move]) -> list[Move]:  # noqa: ARG002 - one group
        if self.refuses:
            return []
        for one in moves:
            self.moved.append((one.lost_from, one.offset))
            self.knows = Known("here", one.offset, one.offset)
        return list(moves)

    def remember(self, published: Sequence[Published]) -> None:
        for one in published:
            if self.knows is None or self.knows.next_offset < one.committed:
                raise LedgerBehindError
            self.knows = replace(self.knows, published_offset=one.published_offset)


class Log:
    """A log from `low` to `high`, and where its epochs begin."""

    def __init__(self, low: int, high: int, begins: Mapping[int, int]) -> None:
        self.low, self.high, self.begins = low, high, dict(begins)

    def cut(self, at: int, epoch: int) -> Self:
        """Have it lose its end; other records stand there then."""
        self.begins = {begin: old for begin, old in self.begins.items() if begin < at} | {at: epoch}
        return self

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        return dict.fromkeys(topics, "here")

    def ends(self, places: Collection[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        return dict.fromkeys(places, self.low), dict.fromkeys(places, self.high)

    def epochs(self, offsets: Mapping[Place, int]) -> dict[Place, int]:
        return {
            place: max(epoch for begin, epoch in self.begins.items() if begin <= offset)
            for place, offset in offsets.items()
            if self.low <= offset < self.high
        }

    def read(self, *_: object) -> Iterator[list[Record]]:
        yield from ()
