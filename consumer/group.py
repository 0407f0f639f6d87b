"""The group as its coordinator tells it: what it has committed, and which partitions are read.

Asked in ways that outlive a coordinator. The client's newer requests for groups
(`describe_consumer_groups`, `list_consumer_group_offsets`) end the whole process with an assertion
where the coordinator goes away meanwhile (librdkafka issue 4605).
"""

from collections.abc import Collection, Mapping
from struct import Struct, error
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from consumer.start import Place
from runtime.kafka import committed
from runtime.metrics import KAFKA_ERRORS

log = structlog.get_logger("consumer")

_TIMEOUT_SECONDS: Final = 10.0
_INT16: Final = Struct(">h")
_INT32: Final = Struct(">i")


class Group:
    """Asks about a group of which it is no member. Not safe for threads.

    Args:
        config: of the clients.
        group: the group's id.
        admin: asks for the members.
    """

    def __init__(self, config: Mapping[str, Any], group: str, admin: AdminClient) -> None:
        self._group = group
        self._admin = admin
        self._asker = Consumer(
            dict(config)
            | {
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # What is committed is told also while a transaction on it is open, or hangs.
                "isolation.level": "read_uncommitted",
            }
        )

    def committed(self, places: Collection[Place]) -> dict[Place, int]:
        """Return what the group has committed, below 0 where that is nothing.

        Raises `KafkaException`.
        """
        try:
            answer = committed(self._asker, places)
        finally:
            self._asker.poll(0)  # what the client has to say
        return {(part.topic, part.partition): part.offset for part in answer}

    def owned(self) -> set[Place]:
        """Return the partitions that some member reads. Raises `KafkaException`."""
        found: set[Place] = set()
        for group in self._admin.list_groups(self._group, timeout=_TIMEOUT_SECONDS):
            if group.error is not None:
                raise KafkaException(group.error)
            for member in group.members:
                found |= self._of(member.assignment or b"")
        return found

    def _of(self, assignment: bytes) -> set[Place]:
        try:
            return assigned(assignment)
        except ValueError as wrong:
            KAFKA_ERRORS.labels("assignment_unreadable").inc()
            log.warning("a member's assignment cannot be read", detail=str(wrong))
            return set()

    def close(self) -> None:
        """Close its own client."""
        self._asker.close()


def assigned(data: bytes) -> set[Place]:
    """Return the partitions of a member's assignment, in the consumers' own protocol.

    None of no bytes: a member that waits for its assignment. Raises `ValueError` where the bytes
    are no assignment.
    """
    if not data:
        return set()
    found: set[Place] = set()
    try:
        (topics,) = _INT32.unpack_from(data, 2)
        at = 6
        for _ in range(topics):
            (length,) = _INT16.unpack_from(data, at)
            if length < 0:
                raise ValueError("a topic without a name")
            topic = data[at + 2 : at + 2 + length].decode()
            at += 2 + length
            (count,) = _INT32.unpack_from(data, at)
            parts = Struct(f">{count}i").unpack_from(data, at + 4)
            found |= {(topic, part) for part in parts}
            at += 4 + 4 * count
    except (error, UnicodeDecodeError, OverflowError, MemoryError) as wrong:
        raise ValueError(f"{len(data)} bytes are no assignment: {wrong}") from wrong
    return found
