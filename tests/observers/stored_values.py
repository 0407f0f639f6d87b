"""The values that a gateway has stored, read as it goes."""

from collections.abc import Iterator, Sequence

from confluent_kafka import Consumer, TopicPartition

from tests.observers.topics import topic_ends
from tests.waiting import eventually

MAX_VALUE_BYTES = 20_000_000


class StoredValues:
    """Reads topics from where it stopped the last time to their ends.

    Args:
        kafka: the broker.
        topics: their names; what they hold now is not read.
    """

    def __init__(self, kafka: str, topics: Sequence[str]) -> None:
        self._topics = topics
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": "stored-values",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.message.max.bytes": MAX_VALUE_BYTES,
                "fetch.wait.max.ms": 20,
            }
        )
        self._read = dict(self._ends())

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def read_on(self) -> list[bytes]:
        """Every value that came since the last time, in any order."""
        ends = dict(self._ends())
        unread = {at for at, end in ends.items() if end > self._read.get(at, 0)}
        self._consumer.assign([TopicPartition(*at, self._read.get(at, 0)) for at in unread])
        found = list[bytes]()

        def complete() -> bool:
            for message in self._consumer.consume(500, 0.05):
                assert message.error() is None, message.error()
                found.append(message.value() or b"")
                at = (message.topic() or "", message.partition() or 0)
                if (message.offset() or 0) + 1 >= ends[at]:
                    unread.discard(at)
            return not unread

        if unread:
            eventually(complete, "the values up to the ends")
            self._consumer.unassign()
        self._read = ends
        return found

    def _ends(self) -> Iterator[tuple[tuple[str, int], int]]:
        for topic in self._topics:
            for partition, end in topic_ends(self._consumer, topic).items():
                yield (topic, partition), end
