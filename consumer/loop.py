"""The loop: poll a batch, decide it, write it, publish it. Offsets move last (COMMIT_AFTER_WRITE).

While one batch is written and published by a thread of its own, the next one is polled and decided;
it is begun when the one before has ended. A crash at any line is healed by reading the batch again:
receipts are idempotent, and those that this very record wrote before the crash are published again.
"""

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from charging.decision import Policy, decide
from charging.outcomes import Decided, Outcome
from consumer import metrics
from consumer.asking import RevokedError
from consumer.assignment import Assignment
from consumer.continuity import Continuity
from consumer.health import Health
from consumer.limit import DeadLetterGuard
from consumer.observer import Observer
from consumer.offsets import Offsets, committed, first_offsets
from consumer.placement import Placement
from consumer.publisher import Publisher, PublishError
from consumer.reading import Reader
from consumer.settings import Settings
from consumer.settler import Settler
from consumer.waiting import Waiting
from ledger.gap import LedgerBehindError, Published
from ledger.healing import LedgerError, heals
from ledger.receipts import ReceiptWriter
from schemas.record import Record

log = structlog.get_logger("consumer")

_Settled: TypeAlias = tuple[list[Outcome], PublishError | None]


@dataclass(frozen=True, slots=True)
class _Flight:
    """A batch that is being written and published."""

    records: list[Record]
    decided: list[Decided]
    published: list[Published]
    metadata: object
    revocations: int


class Loop:
    """The consumer's main thread. `stop` is set to have it end after the batch in hand.

    What asks PostgreSQL is done by the settler's thread, and what asks Kafka and may be long in
    coming.
    """

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        consumer: Consumer,
        ledger: ReceiptWriter,
        publisher: Publisher,
        *,
        offsets: Offsets,
        continuity: Continuity,
        health: Health,
        stop: threading.Event,
    ) -> None:
        self._health = health
        self._settings = settings
        self._policy = policy
        self._consumer = consumer
        self._ledger = ledger
        self._publisher = publisher
        self._offsets = offsets
        self._assignment = Assignment(offsets, health)
        self._observer = Observer(health, offsets)
        self._limit = DeadLetterGuard(settings, lambda record: decide(record, policy), ledger.takes)
        self._stop = stop
        self._reader = Reader(consumer, self._assignment, settings)
        pause = settings.consumer_retry_max_ms / 1_000
        self._waiting = Waiting(self._reader, health, stop, pause)
        self._settler = Settler(self._waiting, ledger.abandon)
        self._placement = Placement(
            consumer, self._assignment, continuity, health, stop=stop, settler=self._settler,
            waiting=self._waiting,
        )  # fmt: skip
        self._flight: _Flight | None = None
        self._settling: Future[_Settled] | None = None
        self._step = "postgresql"
        self._publisher_failed = False

    def run(self, topics: Sequence[str]) -> None:
        """Settle batches until `stop`. Raises what cannot heal; nothing uncommitted is lost."""
        try:
            self._run(topics)
        except BaseException:
            # The thread would keep the process for as long as the database does not answer.
            self._ledger.abandon()
            self._placement.interrupt()
            raise
        finally:
            self._settler.close()

    def _run(self, topics: Sequence[str]) -> None:
        self._consumer.subscribe(
            list(topics),
            on_assign=self._assignment.gained,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        while not self._stop.is_set():
            self._health.turned()
            # A partition may be revoked while a batch is collected and be back before its end: its
            # records are its next owner's, and published twice they would double their events.
            revocations = self._assignment.revocations
            batch = self._reader.batch()
            decided = [Decided(record, decide(record, self._policy)) for record in batch]
            whole = self._finish(batch)
            self._placement.ensure(first_offsets(batch))
            self._observer.observe(self._consumer, self._ledger, self._settler.ask)
            if batch and whole and revocations == self._assignment.revocations:
                self._begin(batch, decided)
            elif batch and whole:
                self._go_back(batch)
        self._finish()
        self._settler.ask(self._observer.remember)

    def _begin(self, batch: list[Record], decided: list[Decided]) -> None:
        """Hand a batch over to be written and published."""
        self._limit.admit(decided)
        # The client does not tell this to another thread while it is in a rebalance callback.
        metadata = self._consumer.consumer_group_metadata()
        published = self._offsets.positions(batch)
        self._flight = _Flight(batch, decided, published, metadata, self._assignment.revocations)
        self._settling = self._settler.begin(partial(self._settle, self._flight))

    def _settle(self, flight: _Flight) -> _Settled:
        self._step = "postgresql"
        with metrics.BATCH_SECONDS.labels("write").time():
            outcomes = self._ledger.write(flight.decided, flight.published)
        self._limit.admit_written(outcomes)
        self._step = "kafka"
        try:
            with metrics.BATCH_SECONDS.labels("publish").time():
                self._publisher.publish(outcomes, flight.metadata)
        except PublishError as failure:
            return outcomes, failure
        # At once: who sees the committed offsets shall find the records counted.
        self._observer.count(outcomes)
        return outcomes, None

    def _finish(self, ahead: Sequence[Record] = ()) -> bool:
        """Bring the batch in flight to its end; False when it was given up, and `ahead` with it."""
        flight, self._flight = self._flight, None
        if flight is None:
            return True
        for attempt in itertools.count(1):
            try:
                settling = self._settling_of(flight)
                outcomes, failure = self._settler.end_of(settling, lambda: self._step)
                break
            except LedgerError as error:
                self._settling = None
                if not heals(error):
                    raise
                self._waiting.out("postgresql", error, attempt)
            except LedgerBehindError:
                self._settling = None
                self._offsets.doubted = True
                self._placement.ensure(first_offsets([*flight.records, *ahead]))
                flight = replace(flight, published=self._offsets.positions(flight.records))
            if self._stop.is_set() or flight.revocations != self._assignment.revocations:
                self._limit.withdraw()
                self._go_back(flight.records, ahead)
                return False
        self._settling = None
        if failure is not None:
            self._publisher_failed = True
            if not self._go_back(flight.records, ahead, failure, outcomes, flight.revocations):
                self._limit.withdraw()
            return False
        self._offsets.published(flight.records)
        self._health.settled()
        return True

    def _settling_of(self, flight: _Flight) -> Future[_Settled]:
        if self._settling is None:
            self._settling = self._settler.begin(partial(self._settle, flight))
        return self._settling

    def _go_back(
        self,
        batch: Sequence[Record],
        ahead: Sequence[Record] = (),
        cause: Exception | None = None,
        outcomes: Sequence[Outcome] = (),
        revocations: int | None = None,
    ) -> bool:
        """Give up the batch, and what was read `ahead` of it, and read on from the group's offsets.

        They alone say whether a Kafka transaction of unknown end took effect; if it did, the batch
        is counted after all, and the answer is true. False as well when the loop is to stop:
        nothing was committed then that is not whole.
        """
        metrics.DISCARDED.inc()
        for attempt in itertools.count(1):
            if cause is not None:
                self._waiting.out("kafka", cause, attempt)
            if self._stop.is_set():
                return False
            try:
                if self._publisher_failed:
                    self._settler.ask(self._publisher.renew, "kafka")
                    self._publisher_failed = False
                took_effect = self._seek_to_committed(batch, ahead)
                break
            except RevokedError:
                cause = None
            except KafkaException as error:
                cause = error
        self._reader.resume()
        if outcomes and took_effect and revocations == self._assignment.revocations:
            self._observer.count(outcomes)
        log.info("went back to the committed offsets", records=len(batch), settled=took_effect)
        return took_effect

    def _seek_to_committed(self, batch: Sequence[Record], ahead: Sequence[Record]) -> bool:
        """Set the positions of their partitions; whether all of the batch's are past it."""
        begun = first_offsets(batch)
        # Where a new group has committed nothing, everything since is read again.
        first = first_offsets([*batch, *ahead])
        took_effect = True
        # What comes to this member meanwhile is read from where the group is by then.
        mine = self._assignment.positioned
        answer = self._placement.ask(partial(committed, self._consumer, first), "kafka")
        found, _ = self._offsets.noted(first, answer)
        offsets = {(part.topic, part.partition): part.offset for part in found}
        for key, begin in first.items():
            offset = offsets.get(key, begin)
            took_effect = took_effect and offset > begun.get(key, -1)
            if key in mine:
                self._consumer.seek(TopicPartition(*key, offset))
        return took_effect

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._placement.interrupt()
        if self._settling is not None:
            # What is being settled may still be this member's to commit. Where that takes too long
            # the group refuses its offsets, and with them all that it would publish.
            self._waiting.before_revocation(self._settling)
        self._assignment.lost(consumer, partitions)
        self._observer.forget(partitions)
