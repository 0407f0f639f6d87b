"""The loop: poll a batch, decide it, write it, publish it. Offsets move last (COMMIT_AFTER_WRITE).

A crash at any line is healed by reading the batch again: receipts are idempotent, and those that
this very record wrote before the crash are published again.
"""

import itertools
import random
import threading
import time
from collections.abc import Sequence
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from psycopg import OperationalError

from consumer import metrics
from consumer.account import Accountant
from consumer.decision import Policy, decide
from consumer.health import Health
from consumer.ledger import Ledger
from consumer.limit import DeadLetterLimit
from consumer.offsets import Offsets, first_offsets, next_offsets
from consumer.publisher import Publisher, PublishError
from consumer.record import Decided, Outcome, Published, Record
from consumer.settings import Settings

log = structlog.get_logger("consumer")

_POLL_WHILE_WAITING_SECONDS: Final = 0.1
_COMMITTED_SECONDS: Final = 10.0
_FOR_GOOD: Final = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}
)


class BatchLostError(Exception):
    """The batch in hand is given up: whoever holds its partitions next settles it."""


class Loop:
    """The consumer's one thread. `stop` may be called from a signal handler."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        consumer: Consumer,
        ledger: Ledger,
        publisher: Publisher,
        *,
        offsets: Offsets,
        health: Health,
    ) -> None:
        self.assigned: set[tuple[str, int]] = set()
        self._health = health
        self._settings = settings
        self._policy = policy
        self._consumer = consumer
        self._ledger = ledger
        self._publisher = publisher
        self._offsets = offsets
        self._accountant = Accountant(health, offsets)
        self._limit = DeadLetterLimit(
            settings.consumer_dead_letter_run,
            settings.consumer_dead_letter_share,
            settings.consumer_dead_letter_window,
        )
        self._stop = threading.Event()
        self._batch_lost = False
        self._publisher_failed = False
        self._unplaced: set[tuple[str, int]] = set()
        self._without_offset: set[tuple[str, int]] = set()

    def stop(self) -> None:
        """Ask the loop to end after the batch in hand."""
        self._stop.set()

    def run(self, topics: Sequence[str]) -> None:
        """Settle batches until `stop`. Raises what cannot heal; nothing uncommitted is lost."""
        self._consumer.subscribe(
            list(topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        while not self._stop.is_set():
            self._health.turned()
            batch = self._poll()
            if batch:
                self._settle(batch)
            if self._unplaced or self._without_offset:
                self._find_places()
            self._accountant.observe(self._consumer, self._ledger)
        self._accountant.remember()

    def _poll(self) -> list[Record]:
        messages = self._consumer.consume(
            self._settings.consumer_batch_records, self._settings.consumer_batch_wait_ms / 1_000
        )
        records = [Record.of(message) for message in messages if self._is_record(message)]
        # A partition may be revoked while its messages are being collected. They are the next
        # owner's: to publish them here as well would double their events, as the group takes the
        # offsets of any partition from any of its members.
        return [record for record in records if (record.topic, record.partition) in self.assigned]

    def _find_places(self) -> None:
        """Read on where the group's offsets could not be asked for, or are none that are valid."""
        attempt = 0
        while (self._unplaced | self._without_offset) & self.assigned and not self._stop.is_set():
            try:
                if unplaced := self._unplaced & self.assigned:
                    found, missing = self._offsets.committed(self._consumer, unplaced)
                    self._offsets.read_on(self._consumer, found)
                    self._without_offset |= missing
                    self._unplaced -= unplaced
                if places := self._without_offset & self.assigned:
                    self._offsets.start_over(self._consumer, places)
                    self._without_offset -= places
            except (KafkaException, OperationalError) as error:
                attempt += 1
                away = "kafka" if isinstance(error, KafkaException) else "postgresql"
                self._wait(away, error, attempt)

    def _settle(self, batch: Sequence[Record]) -> None:
        """Bring a batch to its end: written, published, offsets committed, counted."""
        self._batch_lost = False
        decided = [Decided(record, decide(record, self._policy)) for record in batch]
        self._limit.admit(decided)
        try:
            with metrics.BATCH_SECONDS.labels("write").time():
                outcomes = self._write(decided, self._offsets.before(batch))
            with metrics.BATCH_SECONDS.labels("publish").time():
                self._publisher.publish(outcomes, self._consumer)
        except BatchLostError as lost:
            return self._go_back(batch, lost)
        except PublishError as failure:
            self._publisher_failed = True
            return self._go_back(batch, failure, outcomes)
        self._offsets.published(batch)
        self._health.settled()
        return self._accountant.count(outcomes)

    def _write(self, decided: Sequence[Decided], published: Sequence[Published]) -> list[Outcome]:
        for attempt in itertools.count(1):
            try:
                return self._ledger.write(decided, published)
            except OperationalError as error:
                self._wait("postgresql", error, attempt)
                if self._batch_lost or self._stop.is_set():
                    raise BatchLostError from error
        raise AssertionError

    def _go_back(
        self, batch: Sequence[Record], cause: Exception, outcomes: Sequence[Outcome] = ()
    ) -> None:
        """Give the batch up and read on from where the group's committed offsets are.

        They alone say whether a Kafka transaction of unknown end took effect; if it did, the batch
        is counted after all. Returns early when the loop is to stop: nothing was committed then
        that is not whole.
        """
        metrics.DISCARDED.inc()
        for attempt in itertools.count(1):
            if self._publisher_failed:
                self._wait("kafka", cause, attempt)
            if self._stop.is_set():
                return
            try:
                if self._publisher_failed:
                    self._publisher.renew()
                    self._publisher_failed = False
                took_effect = self._seek_to_committed(batch)
                break
            except KafkaException as error:
                cause = error
                self._wait("kafka", error, attempt)
        self._resume()
        if outcomes and took_effect and not self._batch_lost:
            self._accountant.count(outcomes)
        log.info("went back to the committed offsets", records=len(batch), settled=took_effect)

    def _seek_to_committed(self, batch: Sequence[Record]) -> bool:
        """Set the positions of the batch's partitions; whether all are past the batch."""
        first = first_offsets(batch)
        ends = next_offsets(batch)
        took_effect = True
        for part in self._consumer.committed(ends, timeout=_COMMITTED_SECONDS):
            key = (part.topic, part.partition)
            offset = part.offset if part.offset >= 0 else first[key]
            took_effect = took_effect and offset > first[key]
            if key in self.assigned - self._without_offset - self._unplaced:
                self._consumer.seek(TopicPartition(*key, offset))
        return took_effect

    def _wait(self, dependency: str, error: Exception, attempt: int) -> None:
        """Wait out a failure that may heal, still polling so that the group keeps this member."""
        self._health.missing = dependency
        metrics.RETRIES.labels(dependency).inc()
        ceiling = min(0.1 * 2 ** min(attempt, 16), self._settings.consumer_retry_max_ms / 1_000)
        pause = random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter, no secret
        log.warning(
            "batch will be tried again",
            dependency=dependency,
            attempt=attempt,
            pause_seconds=round(pause, 2),
            error=type(error).__name__,
            detail=str(error).strip()[:300],
        )
        until = time.monotonic() + pause
        while time.monotonic() < until and not self._stop.is_set():
            self._health.turned()
            self._consumer.pause([TopicPartition(topic, part) for topic, part in self.assigned])
            self._put_back(self._consumer.poll(_POLL_WHILE_WAITING_SECONDS))
        self._resume()

    def _put_back(self, message: Message | None) -> None:
        """Undo the reading of a message from a partition that was assigned during a wait."""
        if message is not None and self._is_record(message):
            record = Record.of(message)
            position = TopicPartition(record.topic, record.partition, record.offset)
            self._consumer.pause([position])
            self._consumer.seek(position)

    def _resume(self) -> None:
        self._consumer.resume([TopicPartition(topic, part) for topic, part in self.assigned])

    def _is_record(self, message: Message) -> bool:
        """Whether it is no error. Raises `KafkaException` where the error is for good."""
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - librdkafka's own name
            self._without_offset.add((message.topic() or "", message.partition() or 0))
            return False
        metrics.KAFKA_ERRORS.labels(error.name()).inc()
        if error.fatal() or error.code() in _FOR_GOOD:
            raise KafkaException(error)
        log.warning("kafka reported an error", code=error.name(), detail=error.str())
        return False

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # The client asks for the group's offsets once, and where the coordinator has just moved it
        # never reads these partitions (librdkafka issue 5586). So it is told where to read.
        places = {(part.topic, part.partition) for part in partitions}
        try:
            found, missing = self._offsets.committed(consumer, places)
        except KafkaException as error:
            metrics.KAFKA_ERRORS.labels(error.args[0].name()).inc()
            self._unplaced |= places
        else:
            consumer.incremental_assign([TopicPartition(*place) for place in missing] + found)
        self.assigned |= places
        self._health.assigned = len(self.assigned)
        metrics.ASSIGNED.set(len(self.assigned))
        log.info("partitions assigned", partitions=_names(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._batch_lost = True
        # librdkafka keeps a pause over a rebalance: a partition that left during a wait and comes
        # back after it would never be read again.
        consumer.resume(partitions)
        self.assigned -= {(part.topic, part.partition) for part in partitions}
        for part in partitions:
            self._offsets.forget(part.topic, part.partition)
            self._without_offset.discard((part.topic, part.partition))
            self._unplaced.discard((part.topic, part.partition))
        self._accountant.forget(partitions)
        self._health.assigned = len(self.assigned)
        metrics.ASSIGNED.set(len(self.assigned))
        log.info("partitions revoked", partitions=_names(partitions))


def _names(partitions: Sequence[TopicPartition]) -> list[str]:
    return [f"{part.topic}/{part.partition}" for part in partitions]
