"""The epochs of the leaders that wrote records: they tell a record from another at its offset."""

import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime.batches import fetch_bounds

_TIMEOUT_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 0.2
_FETCH_BYTES: Final = 64 * 1024
_END: Final = KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's own name


def leader_epochs(
    config: Mapping[str, Any], offsets: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], int]:
    """Return the epoch of the record that stands at an offset, by topic and partition.

    Left out where none stands there: it is not written yet, deleted, or a marker of a transaction.
    Raises `KafkaException` where a partition cannot be read, or not within ten seconds.
    """
    reader = {
        "group.id": f"epochs-{uuid.uuid4()}",
        "enable.auto.commit": False,
        "auto.offset.reset": "latest",
        "enable.partition.eof": True,
    }
    consumer = Consumer(dict(config) | reader | fetch_bounds(_FETCH_BYTES))
    try:
        consumer.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        until = time.monotonic() + _TIMEOUT_SECONDS
        found: dict[tuple[str, int], int] = {}
        left = dict(offsets)
        while left:
            message = consumer.poll(_PATIENCE_SECONDS)
            place = None if message is None else _place(message)
            if message is not None and place is not None and place in left:
                epoch = _epoch(message, left.pop(place))
                if epoch is not None:
                    found[place] = epoch
                consumer.incremental_unassign([TopicPartition(*place)])
            elif time.monotonic() > until:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
        return found
    finally:
        consumer.close()


def _place(message: Message) -> tuple[str, int] | None:
    """Return where a record stands, or where no more stands.

    None for an error that is of no partition: the client goes on by itself, or Kafka does not
    answer in time. Raises `KafkaException` for any other.
    """
    topic, partition, error = message.topic(), message.partition(), message.error()
    if topic is None or partition is None:
        return None
    if error is not None and error.code() != _END:
        raise KafkaException(error)
    return topic, partition


def _epoch(message: Message, offset: int) -> int | None:
    there = message.error() is None and message.offset() == offset
    return message.leader_epoch() if there else None
