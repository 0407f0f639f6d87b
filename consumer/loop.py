"""The loop: poll a batch, decide it, write it, publish it. Offsets move last (COMMIT_AFTER_WRITE).

While one batch is written and published (`pipeline`), the next one is polled and decided; it is
begun when the one before has ended. A crash at any line is healed by reading the batch again:
receipts are idempotent, and those that this very record wrote before the crash are published again.
"""

import itertools
import threading
from collections.abc import Sequence

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from charging.outcomes import Decided
from consumer import metrics
from consumer.assignment import Assignment
from consumer.continuity import Continuity
from consumer.health import Health
from consumer.limit import DeadLetterGuard
from consumer.observer import Observer
from consumer.offsets import Offsets, first_offsets
from consumer.outside import Decide, Events, Ledger, Machine
from consumer.pipeline import GivenUp, Pipeline
from consumer.placement import Placement
from consumer.reading import Reader
from consumer.settings import Settings
from consumer.settler import Settler
from consumer.waiting import Waiting

log = structlog.get_logger("consumer")


class Loop:
    """The consumer's main thread.

    What asks PostgreSQL is done by the settler's thread, and what asks Kafka and may be long in
    coming.

    Args:
        settings: bounds of a batch, pauses, the dead-letter limit.
        decide: what a record becomes.
        consumer: the group's member.
        ledger: is written.
        events: are published.
        offsets: where the group is, and the ledger.
        continuity: finds and closes gaps of the ledger.
        health: told what is missing, and that the loop turns.
        stop: set to have it end after the batch in hand.
        machine: a clock and the settler's thread.
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
        self._limit = DeadLetterGuard(settings, decide, ledger.takes)
        self._reader = Reader(consumer, self._assignment, settings, machine.now)
        pause = settings.consumer_retry_max_ms / 1_000
        self._waiting = Waiting(self._reader, health, stop, pause, machine.now)
        self._settler = Settler(self._waiting, ledger.abandon, machine)
        self._placement = Placement(
            consumer,
            self._assignment,
            continuity,
            health,
            stop=stop,
            settler=self._settler,
            waiting=self._waiting,
        )
        self._pipeline = Pipeline(
            ledger,
            events,
            offsets=offsets,
            limit=self._limit,
            settler=self._settler,
            waiting=self._waiting,
            placement=self._placement,
            assignment=self._assignment,
            observer=self._observer,
            health=health,
        )

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
            decided = [Decided(record, self._decide(record)) for record in batch]
            if given_up := self._pipeline.end(batch):
                self._rewind(given_up)
                continue
            self._observer.observe(self._consumer, self._ledger, self._settler.ask)
            # Last, with no poll between it and the batch: partitions that come make the ids of
            # topics doubtful, and without an id the ledger remembers no position with the batch.
            if not self._placement.ensure(first_offsets(batch)) or not batch:
                continue
            if revocations == self._assignment.revocations:
                self._limit.admit(decided)
                # The client does not tell this to another thread during a rebalance callback.
                metadata = self._consumer.consumer_group_metadata()
                self._pipeline.begin(batch, decided, metadata)
            else:
                self._rewind(GivenUp(batch, revocations, begun=False))
        # What is given up now is another member's to find out.
        self._pipeline.end()
        self._settler.ask(self._observer.remember)

    def _rewind(self, given_up: GivenUp) -> None:
        """Read on from where the group has committed, in all partitions.

        It alone says whether a Kafka transaction of unknown end took effect; if it did, the batch
        is counted after all. Nothing is found out when the loop is to stop.
        """
        metrics.DISCARDED.inc()
        self._assignment.unplace()
        if given_up.failure is not None:
            self._renew(given_up.failure)
        if self._stop.is_set():
            return
        self._placement.ensure(())
        took_effect = self._pipeline.took_effect(given_up)
        if given_up.begun and not took_effect:
            self._limit.withdraw()
        log.info(
            "went back to the committed offsets",
            records=len(given_up.records),
            settled=took_effect,
        )

    def _renew(self, failure: Exception) -> None:
        """Fence the producer that failed, before the group's offsets are asked for."""
        for attempt in itertools.count(1):
            self._waiting.out("kafka", failure, attempt)
            if self._stop.is_set():
                return
            try:
                self._settler.ask(self._events.renew, "kafka")
            except KafkaException as error:
                failure = error
            else:
                return

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._placement.interrupt()
        # Where that takes too long the group refuses the batch's offsets, and with them all that it
        # would publish.
        self._pipeline.before_revocation()
        self._assignment.lost(consumer, partitions)
        self._observer.forget(partitions)
