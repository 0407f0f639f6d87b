"""Kafka, read from outside: what is on a topic, and what a group has finished."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from confluent_kafka import Consumer, Message, TopicPartition

from tests.services.deployment import Deployment
from tests.services.waiting import eventually

SECONDS = 20.0
Ends: TypeAlias = dict[int, int]
"""The next offset of each partition."""


@dataclass(frozen=True)
class TopicRecord:
    """One record; header values are bytes, of repeated headers the last."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict[str, bytes]


class Topics:
    """Reads the topics of one deployment; takes part in no group.

    Args:
        deployment: whose broker and topic names.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def ends(self, name: str) -> Ends:
        """The end of each partition of a topic."""
        topic = self._deployment.topic(name)
        with self._consumer() as consumer:
            partitions = consumer.list_topics(topic, timeout=SECONDS).topics[topic].partitions
            return {
                number: consumer.get_watermark_offsets(
                    TopicPartition(topic, number), timeout=SECONDS
                )[1]
                for number in partitions
            }

    def since(self, name: str, before: Ends) -> list[TopicRecord]:
        """Every committed record between `before` and the present end, by partition and offset.

        Args:
            name: the topic, without the deployment's prefix.
            before: from `ends`.
        """
        topic = self._deployment.topic(name)
        ends = self.ends(name)
        open_partitions = {p: end for p, end in ends.items() if end > before.get(p, 0)}
        found: list[TopicRecord] = []
        with self._consumer() as consumer:
            consumer.assign([TopicPartition(topic, p, before.get(p, 0)) for p in open_partitions])

            def read_on() -> bool:
                for message in consumer.consume(500, timeout=0.5):
                    error = message.error()
                    assert error is None, error
                    found.append(_record(message))
                # The position passes over transaction markers, which are no records.
                for at in consumer.position([TopicPartition(topic, p) for p in open_partitions]):
                    if at.offset >= open_partitions.get(at.partition, 0):
                        open_partitions.pop(at.partition, None)
                return not open_partitions

            if open_partitions:
                eventually(read_on, f"the end of {topic}")
        found = [record for record in found if record.offset < ends[record.partition]]
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def wait_until_consumed(self, name: str = "billing.callbacks.v1") -> None:
        """Return when the deployment's group has committed all that is on the topic now."""
        topic = self._deployment.topic(name)
        ends = {number: end for number, end in self.ends(name).items() if end > 0}
        with self._consumer(self._deployment.group) as consumer:

            def left() -> dict[int, int]:
                asked = [TopicPartition(topic, number) for number in ends]
                committed = consumer.committed(asked, timeout=SECONDS)
                behind = {at.partition: ends[at.partition] - max(at.offset, 0) for at in committed}
                return {number: count for number, count in behind.items() if count > 0}

            eventually(lambda: not left(), f"{self._deployment.group} to finish {topic}")

    @contextmanager
    def _consumer(self, group: str = "") -> Iterator[Consumer]:
        consumer = Consumer(
            {
                "bootstrap.servers": self._deployment.bootstrap,
                "group.id": group or f"tests-{uuid.uuid4().hex}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "fetch.message.max.bytes": 16 * 1024 * 1024,
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()


def _record(message: Message) -> TopicRecord:
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return TopicRecord(
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        headers={name: _bytes(value) for name, value in pairs},
    )


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(value).encode() if value is not None else b""
