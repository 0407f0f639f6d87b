"""Reading: how records come from the group's partitions, and how nothing does during a wait."""

import time
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer import metrics
from consumer.assignment import Assignment
from consumer.record import Record
from consumer.settings import Settings

log = structlog.get_logger("consumer")

_PAUSED_SECONDS: Final = 0.1
_FIRST_PART: Final = 5
_LARGEST_PART: Final = 500
_LEAST_ROOM: Final = 1024 * 1024
"""Bytes that a part may have in any case: records are not taken one by one for a small bound."""
_FOR_GOOD: Final = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}
)


def next_part(largest: int | None, room: int) -> int:
    """Return how many records to take next.

    Args:
        largest: bytes of the largest record of the part before; None where there was none.
        room: bytes that the batch still takes.
    """
    if largest is None:
        return _FIRST_PART
    return max(1, min(_LARGEST_PART, max(room, _LEAST_ROOM) // max(largest, 1)))


class Reader:
    """Reads what is assigned. Not safe for threads. Both ways of reading serve rebalances.

    What a record says of its size is what it takes in memory: values are counted as they are after
    the client has decompressed them.
    """

    def __init__(self, consumer: Consumer, assignment: Assignment, settings: Settings) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._settings = settings
        self._largest: int | None = None

    def batch(self) -> list[Record]:
        """Collect a batch, until it is full or the time to wait for more is over.

        Raises `KafkaException` where the client reports what is for good.
        """
        limits, records, size = self._settings, list[Record](), 0
        until = time.monotonic() + limits.consumer_batch_wait_ms / 1_000
        while len(records) < limits.consumer_batch_records and size < limits.consumer_batch_bytes:
            # In parts, because the client keeps its own copy of a value as long as its message is.
            room = limits.consumer_batch_bytes - size
            left = limits.consumer_batch_records - len(records)
            wanted = min(next_part(self._largest, room), left)
            part = self._part(wanted, max(until - time.monotonic(), 0))
            records += part
            sizes = [record.size for record in part]
            size += sum(sizes)
            self._largest = max(sizes, default=self._largest)
            if not part or (len(part) < wanted and time.monotonic() > until):
                break
        return records

    def _part(self, wanted: int, wait_seconds: float) -> list[Record]:
        """Take what is there, up to `wanted`; wait for one only where nothing is."""
        messages = self._consumer.consume(wanted, 0) or self._consumer.consume(1, wait_seconds)
        now = time.time_ns() // 1_000_000
        return [Record.of(message, now) for message in messages if self._is_record(message)]

    def idle(self) -> None:
        """Read nothing for a moment, still polling, so that the group keeps this member."""
        self._consumer.pause([TopicPartition(*place) for place in self._assignment.places])
        self._put_back(self._consumer.poll(_PAUSED_SECONDS))

    def resume(self) -> None:
        """Read on after `idle`."""
        self._consumer.resume([TopicPartition(*place) for place in self._assignment.places])

    def _put_back(self, message: Message | None) -> None:
        """Undo the reading of a message from a partition that was assigned during a wait."""
        if message is not None and self._is_record(message):
            record = Record.of(message)
            position = TopicPartition(record.topic, record.partition, record.offset)
            self._consumer.pause([position])
            self._consumer.seek(position)

    def _is_record(self, message: Message) -> bool:
        """Whether it is no error. Raises `KafkaException` where the error is for good."""
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own name
            self._assignment.lacks_offset((message.topic() or "", message.partition() or 0))
            return False
        metrics.KAFKA_ERRORS.labels(error.name()).inc()
        if error.fatal() or error.code() in _FOR_GOOD:
            raise KafkaException(error)
        log.warning("kafka reported an error", code=error.name(), detail=error.str())
        return False
