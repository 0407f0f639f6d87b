"""A range of a topic: from given offsets to given offsets, outside any group's membership."""

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from runtime.batches import Batches, fetch_bounds
from schemas.record import Record

_TIMEOUT_SECONDS: Final = 15.0
_PATIENCE_SECONDS: Final = 0.2
_BATCH: Final = 1_000
_BATCH_BYTES: Final = 32 * 1024 * 1024
_FETCH_BYTES: Final = 64 * 1024


class TopicRange:
    """Reads each partition of a topic from a first offset to the end it had at the beginning.

    Commits nothing. Raises `KafkaException` where the topic or the broker is not there.
    """

    def __init__(self, config: Mapping[str, Any], topic: str) -> None:
        group = {"group.id": f"range-{uuid.uuid4()}", "enable.auto.commit": False}
        reader = {"isolation.level": "read_committed", "auto.offset.reset": "error"}
        self._consumer = Consumer(dict(config) | group | reader | fetch_bounds(_FETCH_BYTES))
        self._topic = topic
        found = self._consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        self.first: dict[int, int] = {}
        self.end: dict[int, int] = {}
        for partition in found.partitions:
            low, high = self._watermarks(partition)
            self.first[partition], self.end[partition] = low, high

    def _watermarks(self, partition: int) -> tuple[int, int]:
        part = TopicPartition(self._topic, partition)
        low, high = self._consumer.get_watermark_offsets(part, timeout=_TIMEOUT_SECONDS)
        return low, high

    def since(self, moment: datetime) -> None:
        """Begin at the first record of each partition that is not older than `moment`."""
        self.first |= self._at(moment)

    def until(self, moment: datetime) -> None:
        """End before the first record of each partition that is not older than `moment`."""
        self.cut(self._at(moment))

    def cut(self, ends: Mapping[int, int]) -> None:
        """End at `ends` at the latest, by partition."""
        self.end = {part: min(end, ends.get(part, end)) for part, end in self.end.items()}

    def _at(self, moment: datetime) -> dict[int, int]:
        # A time before 1970 is none to Kafka, which has a meaning of its own for -1 and -2.
        wanted = max(round(moment.timestamp() * 1_000), 0)
        parts = [TopicPartition(self._topic, partition, wanted) for partition in self.end]
        found = self._consumer.offsets_for_times(parts, timeout=_TIMEOUT_SECONDS)
        return {
            part.partition: self.end[part.partition] if part.offset == OFFSET_END else part.offset
            for part in found
        }

    def only(self, partition: int, offset: int) -> None:
        """Read the one record that stands there, if any does."""
        self.first, self.end = {partition: offset}, {partition: offset + 1}

    def within(self, partitions: Collection[int]) -> None:
        """Read these partitions alone, as far as the topic has them."""
        self.first = {part: first for part, first in self.first.items() if part in partitions}
        self.end = {part: self.end[part] for part in self.first}

    def newest(self, count: int) -> None:
        """Begin with the newest `count` records: as many of each partition, one at least."""
        share = max(1, count // max(len(self.first), 1))
        self.first = {
            part: max(first, self.end[part] - share) for part, first in self.first.items()
        }

    @property
    def records(self) -> int:
        """Upper bound of what is left to read: transaction markers take offsets as well."""
        return sum(max(self.end[part] - first, 0) for part, first in self.first.items())

    def __iter__(self) -> Iterator[list[Record]]:
        """Yield batches until every partition is at its end."""
        return self.unless(lambda: False)

    def unless(self, told: Callable[[], bool]) -> Iterator[list[Record]]:
        """Yield batches until every partition is at its end, or `told` says so."""
        left = {part: first for part, first in self.first.items() if first < self.end[part]}
        self._consumer.assign(
            [TopicPartition(self._topic, part, first) for part, first in left.items()]
        )
        batches = Batches(self._consumer, _BATCH, _BATCH_BYTES, _PATIENCE_SECONDS, _is_record)
        while left and not told():
            read = batches.next()
            if records := [one for one in read if one.offset < self.end[one.partition]]:
                yield records
            for part in self._consumer.position(
                [TopicPartition(self._topic, partition) for partition in left]
            ):
                if part.offset >= self.end[part.partition]:
                    del left[part.partition]

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


def _is_record(message: Message) -> bool:
    if message.error() is not None:
        raise KafkaException(message.error())
    return True
