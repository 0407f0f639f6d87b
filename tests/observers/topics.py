"""Kafka, read from outside: what is on a topic, and what a group has finished."""

import uuid
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from tests.observers.deployment import Deployment
from tests.waiting import NET_SECONDS, eventually

SECONDS = 20.0
READ_SECONDS = 0.05
Ends: TypeAlias = dict[int, int]
"""The next offset of each partition."""

MOVING: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
LEADERLESS: Final = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


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
        self._reader = self._consumer(f"tests-{uuid.uuid4().hex}", "read_committed")
        # Never subscribes, so it is no member: it asks what the group has committed, and where a
        # topic ends with the records of transactions that are still open.
        self._asker = self._consumer(deployment.group, "read_uncommitted")

    def close(self) -> None:
        """Leave the broker."""
        self._reader.close()
        self._asker.close()

    def ends(self, name: str) -> Ends:
        """The end of each partition of a topic."""
        return topic_ends(self._asker, self._deployment.topic(name))

    def since(self, name: str, before: Ends) -> list[TopicRecord]:
        """Every committed record between `before` and the present end, by partition and offset.

        Args:
            name: the topic, without the deployment's prefix.
            before: from `ends`.
        """
        topic = self._deployment.topic(name)
        ends = self.ends(name)
        unread = {number: end for number, end in ends.items() if end > before.get(number, 0)}
        found: list[TopicRecord] = []

        def read_on() -> bool:
            for message in self._reader.consume(500, timeout=READ_SECONDS):
                error = message.error()
                if error is None:
                    found.append(_record(message))
                    continue
                assert error.code() == KafkaError._PARTITION_EOF, error  # noqa: SLF001 - its name
                # Behind the last record there may be transaction markers, so only this tells.
                number, at = message.partition(), message.offset()
                if number is not None and at is not None and at >= unread.get(number, 0):
                    unread.pop(number, None)
            return not unread

        if unread:
            self._reader.assign([TopicPartition(topic, p, before.get(p, 0)) for p in unread])
            try:
                eventually(read_on, f"the end of {topic}")
            finally:
                self._reader.unassign()
        found = [record for record in found if record.offset < ends[record.partition]]
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def wait_until_consumed(self, name: str = "billing.callbacks.v1") -> None:
        """Return when the deployment's group has committed all that is on the topic now."""
        topic = self._deployment.topic(name)
        ends = {number: end for number, end in self.ends(name).items() if end > 0}

        def left() -> dict[int, int]:
            asked = [TopicPartition(topic, number) for number in ends]
            committed = committed_offsets(self._asker, asked)
            behind = {at.partition: ends[at.partition] - max(at.offset, 0) for at in committed}
            return {number: count for number, count in behind.items() if count > 0}

        eventually(lambda: not left(), f"{self._deployment.group} to finish {topic}")

    def _consumer(self, group: str, isolation: str) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._deployment.bootstrap,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.message.max.bytes": 16 * 1024 * 1024,
                # An answer without records must not take half a second, the default.
                "fetch.wait.max.ms": 20,
            }
        )


def committed_offsets(asker: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    """What the asker's group has committed; asks again while its coordinator moves or loads."""

    def answer() -> list[TopicPartition]:
        try:
            return asker.committed(asked, timeout=NET_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in MOVING:
                raise
            return []

    return eventually(answer, "the group's coordinator") if asked else []


def beginning(reader: Consumer, topic: str) -> list[TopicPartition]:
    """Each partition of a topic from its beginning, for a reader that is in no group."""

    def known() -> list[int]:
        return list(reader.list_topics(topic, timeout=NET_SECONDS).topics[topic].partitions)

    numbers = eventually(known, f"the partitions of {topic}")
    return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers]


def topic_ends(asker: Consumer, topic: str) -> Ends:
    """The end of each partition; asks again while one has no leader, as after an election."""

    def watermarks(number: int) -> tuple[int, ...]:
        try:
            return asker.get_watermark_offsets(TopicPartition(topic, number), timeout=NET_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in LEADERLESS:
                raise
            return ()

    return {
        at.partition: eventually(partial(watermarks, at.partition), f"a leader of {at}")[1]
        for at in beginning(asker, topic)
    }


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
