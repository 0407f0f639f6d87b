"""What is on a topic, for those who may read it."""

import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tests.observers.topics import topic_ends

_SECONDS: Final = 60.0


def read_all(bootstrap: str, topic: str) -> list[Message]:
    """Every committed record; those of a partition in their order.

    Raises:
        KafkaException: the broker reports an error.
        TimeoutError: it has not told all of it in a minute.
    """
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    found, until = list[Message](), time.monotonic() + _SECONDS
    try:
        left: set[int | None] = set(topic_ends(reader, topic))
        reader.assign([TopicPartition(topic, number or 0, 0) for number in left])
        while left:
            for message in reader.consume(1_000, 0.1):
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
                    left.discard(message.partition())
                else:
                    raise KafkaException(error)
            if time.monotonic() > until:
                raise TimeoutError(f"the end of {len(left)} partitions of {topic} was not seen")
    finally:
        reader.close()
    return found
