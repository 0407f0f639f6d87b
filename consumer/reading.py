"""Reading: how records come from the group's partitions, and how nothing does during a wait."""

import time
from collections.abc import Callable, Collection
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.assignment import Assignment
from consumer.settings import Settings
from consumer.start import Place
from consumer.truncation import NO_EPOCH, known_epoch
from runtime.batches import Batches
from runtime.metrics import KAFKA_ERRORS
from schemas.record import Record

log = structlog.get_logger("consumer")

_PAUSED_SECONDS: Final = 0.1
_FOR_GOOD: Final = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}
)


class Reader:
    """Reads what is assigned. Not safe for threads. Both ways of reading serve rebalances."""

    def __init__(
        self,
        consumer: Consumer,
        assignment: Assignment,
        settings: Settings,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._batches = Batches(
            consumer,
            settings.consumer_batch_records,
            settings.consumer_batch_bytes,
            settings.consumer_batch_wait_ms / 1_000,
            self._is_record,
            now=now,
        )

    def batch(self) -> list[Record]:
        """Collect a batch. Raises `KafkaException` where the client reports what is for good."""
        return self._batches.next()

    def epochs(self, places: Collection[Place]) -> dict[Place, int]:
        """Return the epochs of the leaders that wrote what was read last, where they are known.

        To be asked right after the batch: what is placed anew has an older one.
        """
        asked = [TopicPartition(*place) for place in places]
        return {
            (part.topic, part.partition): epoch
            for part in self._consumer.position(asked)
            if (epoch := known_epoch(part.leader_epoch)) != NO_EPOCH
        }

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
            position = TopicPartition(
                message.topic() or "",
                message.partition() or 0,
                message.offset() or 0,
                leader_epoch=known_epoch(message.leader_epoch()),
            )
            self._consumer.pause([position])
            self._consumer.seek(position)

    def _is_record(self, message: Message) -> bool:
        """Whether it is a record, and none that is read again.

        Raises `KafkaException` where it is an error that is for good.
        """
        error = message.error()
        if error is None:
            unplaced = self._assignment.unplaced
            return not unplaced or (message.topic(), message.partition()) not in unplaced
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own name
            place = (message.topic() or "", message.partition() or 0)
            self._assignment.lacks_offset(place, error.str())
            return False
        KAFKA_ERRORS.labels(error.name()).inc()
        if error.fatal() or error.code() in _FOR_GOOD:
            raise KafkaException(error)
        log.warning("kafka reported an error", code=error.name(), detail=error.str())
        return False
