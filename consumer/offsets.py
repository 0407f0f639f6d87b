"""Offsets: where a batch begins and ends, and where to read on when the group has none of its own.

Kafka forgets a group's offsets a week after its last member left, or with the topic that holds
them. Reading everything again would charge nobody twice, and would publish every event again. So
the ledger remembers, with each batch, up to where each partition had been published before it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import structlog
from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from consumer import metrics
from consumer.ledger import Ledger
from consumer.record import Published, Record

log = structlog.get_logger("consumer")

_TIMEOUT_SECONDS: Final = 10.0

Place: TypeAlias = tuple[str, int]
"""A topic and one of its partitions."""

Reset: TypeAlias = Literal["first_time", "remembered", "expired", "other_topic", "truncated"]

_HARMLESS: Final = ("first_time", "remembered")


def first_offsets(records: Sequence[Record]) -> dict[Place, int]:
    """Return, for each topic and partition, the offset of the first record."""
    first: dict[Place, int] = {}
    for record in records:
        key = (record.topic, record.partition)
        first[key] = min(first.get(key, record.offset), record.offset)
    return first


def next_offsets(records: Sequence[Record]) -> list[TopicPartition]:
    """Return, for each partition, the offset after the last record."""
    last: dict[Place, int] = {}
    for record in records:
        key = (record.topic, record.partition)
        last[key] = max(last.get(key, -1), record.offset)
    return [TopicPartition(topic, part, offset + 1) for (topic, part), offset in last.items()]


@dataclass(frozen=True, slots=True)
class Start:
    """Where to read on, why there, and how many records Kafka deleted before they were read."""

    offset: int
    reset: Reset
    expired: int = 0


def start(published: Published | None, topic_id: str, low: int, high: int) -> Start:
    """Return where to read a partition from whose group has no valid offset.

    `low` and `high` are the first offset that Kafka still has and the one after its last. When in
    doubt the answer is `low`: ACCEPTED_IS_DURABLE comes before RECEIPTS_PUBLISHED_EXACTLY_ONCE.
    """
    if published is None:
        return Start(low, "first_time")
    if not topic_id or published.topic_id != topic_id:
        return Start(low, "other_topic")
    if published.next_offset > high:
        return Start(low, "truncated")
    if published.next_offset < low:
        return Start(low, "expired", low - published.next_offset)
    return Start(published.next_offset, "remembered")


class Offsets:
    """Keeps the published offsets in the ledger, and reads on from them. Not safe for threads."""

    def __init__(self, config: dict[str, Any], group: str, ledger: Ledger) -> None:
        self._config = config
        self._group = group
        self._ledger = ledger
        self._topic_ids: dict[str, str] = {}
        self._unwritten: dict[Place, int] = {}

    def before(self, batch: Sequence[Record]) -> list[Published]:
        """Return what is known to be published when `batch` begins, for the ledger to remember.

        A topic whose id the broker does not tell is left out: its offsets could not be trusted.
        """
        return self._known(first_offsets(batch))

    def published(self, batch: Sequence[Record]) -> None:
        """Note that `batch` has been published; the next batch, or `remember`, writes it down."""
        for part in next_offsets(batch):
            self._unwritten[part.topic, part.partition] = part.offset

    def remember(self) -> None:
        """Write down what is published, when there is nothing else to do.

        Raises `psycopg.OperationalError` without a database; then it is written the next time. A
        topic whose id the broker does not tell is left out, as in `before`.
        """
        if self._unwritten:
            # A copy: partitions may leave while the topic's id is asked for.
            self._ledger.remember(self._known(dict(self._unwritten)))
            self._unwritten.clear()

    def forget(self, topic: str, partition: int) -> None:
        """Leave a partition to its next owner."""
        self._unwritten.pop((topic, partition), None)

    def _known(self, offsets: dict[Place, int]) -> list[Published]:
        return [
            Published(self._group, topic, partition, topic_id, offset)
            for (topic, partition), offset in offsets.items()
            if (topic_id := self._topic_id(topic))
        ]

    def _topic_id(self, topic: str) -> str:
        if topic not in self._topic_ids:
            admin = AdminClient(self._config)
            asked = admin.describe_topics(
                TopicCollection([topic]), request_timeout=_TIMEOUT_SECONDS
            )
            try:
                self._topic_ids[topic] = str(asked[topic].result(2 * _TIMEOUT_SECONDS).topic_id)
            except (KafkaException, TimeoutError) as error:
                metrics.KAFKA_ERRORS.labels("describe_topics").inc()
                log.warning("the topic's id is not known", topic=topic, detail=str(error))
                return ""
        return self._topic_ids[topic]

    def committed(
        self, consumer: Consumer, places: Collection[Place]
    ) -> tuple[list[TopicPartition], set[Place]]:
        """Return where the group reads on, and the places for which it has no offset.

        Waits for transactions that are still open on these offsets. Raises `KafkaException`.
        """
        if not places:
            return [], set()
        asked = [TopicPartition(*place) for place in sorted(places)]
        answer = consumer.committed(asked, timeout=_TIMEOUT_SECONDS)
        for part in answer:
            if part.error is not None:
                raise KafkaException(part.error)
        found = [part for part in answer if part.offset >= 0]
        return found, set(places) - {(part.topic, part.partition) for part in found}

    def read_on(self, consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        """Read assigned partitions on from these offsets, whatever the client waits for there.

        A seek would be refused where the fetcher of a partition never began or has stopped.
        """
        if places:
            consumer.incremental_unassign(
                [TopicPartition(part.topic, part.partition) for part in places]
            )
            consumer.incremental_assign(list(places))

    def start_over(self, consumer: Consumer, places: Collection[Place]) -> None:
        """Read partitions on from where the ledger says, as the group has no valid offset there.

        All or none of them. Raises `KafkaException` or `psycopg.OperationalError` where one of the
        two is away.
        """
        for topic, _ in places:
            self._topic_ids.pop(topic, None)
        lows = self._ask(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        highs = self._ask(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        found = {
            (topic, partition): start(
                self._ledger.published(self._group, topic, partition),
                self._topic_id(topic),
                lows[topic, partition],
                highs[topic, partition],
            )
            for topic, partition in sorted(places)
        }
        self.read_on(
            consumer, [TopicPartition(*place, chosen.offset) for place, chosen in found.items()]
        )
        _tell(found)

    def _ask(self, places: Collection[Place], which: OffsetSpec) -> dict[Place, int]:
        # Not by the consumer, whose connection may be waiting for new records. A client that knew
        # the partitions before their leader was restarted would go on asking with an old epoch.
        wanted = {TopicPartition(*place): which for place in places}
        admin = AdminClient(self._config)
        asked = admin.list_offsets(wanted, request_timeout=_TIMEOUT_SECONDS)
        return {
            (part.topic, part.partition): answer.result(2 * _TIMEOUT_SECONDS).offset
            for part, answer in asked.items()
        }


def _tell(found: Mapping[Place, Start]) -> None:
    for reset in sorted({chosen.reset for chosen in found.values()}):
        there = {place: chosen for place, chosen in found.items() if chosen.reset == reset}
        metrics.OFFSET_RESETS.labels(reset).inc(len(there))
        expired = sum(chosen.expired for chosen in there.values())
        metrics.EXPIRED.inc(expired)
        level = log.info if reset in _HARMLESS else log.error
        reads_on = {f"{topic}/{part}": chosen.offset for (topic, part), chosen in there.items()}
        level("the group has no valid offset", reset=reset, reads_on=reads_on, expired=expired)
