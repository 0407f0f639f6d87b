"""The loop: poll a batch, decide it, write it, publish it. Offsets move last (COMMIT_AFTER_WRITE).

While one batch is published and the next one is written (`pipeline`), a third is polled and
decided. A crash at any line is healed by reading what is not committed again: receipts are
idempotent, and those that these very records wrote before the crash are published again.
"""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from charging.outcomes import Decided
from consumer import metrics
from consumer.assignment import Assignment
from consumer.continuity import Continuity
from consumer.deadline import DeadlineError
from consumer.extent import Extent
from consumer.health import Health
from consumer.limit import ReleaseCheck
from consumer.observer import Observer
from consumer.offsets import Offsets
from consumer.outside import Decide, Events, Ledger, Machine
from consumer.pipeline import GivenUp, Pipeline
from consumer.placement import Placement
from consumer.reading import Reader
from consumer.settings import Settings
from consumer.waiting import Waiting
from consumer.worker import Worker

log = structlog.get_logger("consumer")


class Loop:
    """The consumer's main thread.

    What asks PostgreSQL is done by the writer's thread, and what asks Kafka and may be long in
    coming. The publisher's thread has the transactions.

    Args:
        settings: bounds of a batch, pauses, the dead-letter limit.
        decide: what a record becomes.
        consumer: the group's member.
        ledger: is written.
        events: are published.
        offsets: where the group is, and the ledger.
        continuity: finds and closes gaps of the ledger.
        health: told what is missing, and that the loop turns.
        stop: set to have it end after the batches in hand.
        machine: a clock, and these two threads.
    """

    def __init__(
        self,
        settings: Settings,
        decide: Decide,
        consumer: Consumer,
        ledger: Ledger,
        events: Events,
        *,
        offsets: Offsets,
        continuity: Continuity,
        health: Health,
        stop: threading.Event,
        machine: Machine,
    ) -> None:
        self._decide = decide
        self._consumer = consumer
        self._ledger = ledger
        self._events = events
        self._health = health
        self._stop = stop
        self._assignment = Assignment(offsets, health)
        self._observer = Observer(health, offsets, machine.now)
        self._limit = ReleaseCheck(settings, decide, ledger.takes)
        self._reader = Reader(consumer, self._assignment, settings, machine.now)
        pause = settings.consumer_retry_max_ms / 1_000
        self._waiting = Waiting(self._reader, health, stop, pause, machine.now)
        self._writer = Worker(self._waiting, ledger.abandon, machine.thread("write"))
        self._publisher = Worker(self._waiting, ledger.abandon, machine.thread("publish"))
        self._placement = Placement(
            consumer,
            self._assignment,
            continuity,
            health,
            stop=stop,
            worker=self._writer,
            waiting=self._waiting,
        )
        self._pipeline = Pipeline(
            ledger,
            events,
            offsets=offsets,
            limit=self._limit,
            writer=self._writer,
            publisher=self._publisher,
            waiting=self._waiting,
            placement=self._placement,
            assignment=self._assignment,
            observer=self._observer,
            health=health,
        )

    def run(self, topics: Sequence[str]) -> None:
        """Commit batches until `stop`. Raises what cannot heal; nothing uncommitted is lost."""
        try:
            self._run(topics)
        except BaseException:
            # A thread would keep the process for as long as the database does not answer. What is
            # written already is published all the same.
            self._ledger.abandon()
            self._placement.interrupt()
            raise
        finally:
            self._writer.close()
            self._publisher.close()

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
            decided = [Decided(record, self._decide(record)) for record in batch]
            extent = Extent.of(batch)
            extent = replace(extent, epochs=self._reader.epochs(extent.first))
            if given_up := self._pipeline.advance(extent.first):
                self._rewind(given_up)
                continue
            self._observer.observe(self._consumer, self._ledger, self._writer.ask)
            # Last, with no poll between it and the batch: partitions that come make the ids of
            # topics doubtful, and without an id the ledger remembers no position with the batch.
            in_hand = self._pipeline.places.union(extent.first)
            if not self._placement.ensure(in_hand) or not batch:
                continue
            if revocations == self._assignment.revocations:
                self._limit.check(decided)
                # The client does not tell this to another thread during a rebalance callback.
                metadata = self._consumer.consumer_group_metadata()
                given_up = self._pipeline.begin(decided, extent, metadata)
            else:
                # Whatever is in hand comes to its end first: it would be read again as well.
                given_up = self._pipeline.end() or GivenUp(extent, revocations)
            if given_up:
                self._rewind(given_up)
        # What is given up now is another member's to find out.
        self._pipeline.end()
        self._writer.ask(self._observer.remember)

    def _rewind(self, given_up: GivenUp) -> None:
        """Read on from where the group has committed, in all partitions; nothing is in hand.

        It alone says whether a Kafka transaction of unknown end took effect; if it did, the batch
        is counted after all. Nothing is found out when the loop is to stop.
        """
        metrics.DISCARDED.inc(given_up.batches)
        self._assignment.unplace()
        if given_up.failure is not None:
            self._renew(given_up.failure)
        if self._stop.is_set():
            return
        self._placement.ensure(())
        took_effect = self._pipeline.took_effect(given_up)
        self._limit.withdraw()
        log.info(
            "went back to the committed offsets",
            batches=given_up.batches,
            records=given_up.extent.records,
            committed=took_effect,
        )

    def _renew(self, failure: Exception) -> None:
        """Fence the producer that failed, before the group's offsets are asked for."""
        for attempt in itertools.count(1):
            self._waiting.out("kafka", failure, attempt)
            if self._stop.is_set():
                return
            try:
                self._publisher.ask(self._events.renew, "kafka")
            except (KafkaException, DeadlineError) as error:
                failure = error
            else:
                return

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._placement.interrupt()
        # Where that takes too long the group refuses the offsets of what is in hand, and with them
        # all that it would publish.
        self._pipeline.before_revocation()
        self._assignment.lost(consumer, partitions)
        self._pipeline.left({(part.topic, part.partition) for part in partitions})
        self._observer.forget(partitions)
