"""Counts what became of each record, and watches lag and open deferrals."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from charging.doubles import POSSIBLE_DOUBLE
from charging.outcomes import Deferred, DeferredReason, Outcome, OutcomeKind
from charging.signature import VERDICTS
from consumer import metrics
from consumer.extent import Extent
from consumer.health import Health
from consumer.offsets import Offsets
from consumer.outside import Ledger
from ledger.healing import LedgerError
from runtime.metrics import KAFKA_ERRORS, RETRIES, BoundedLabel
from schemas.receipt import Receipt

log = structlog.get_logger("consumer")

_LAG_EVERY_SECONDS: Final = 1.0
_DEFERRED_EVERY_SECONDS: Final = 5.0
_UNATTRIBUTED: Final = {"unattributed_account": "account", "unattributed_run": "run"}


class Observer:
    """Turns outcomes into metrics after their offsets are committed.

    `count` may be called by one thread and the rest by another; more than these two are not safe.
    """

    def __init__(
        self, health: Health, offsets: Offsets, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._now = now
        self._health = health
        self._offsets = offsets
        self._model = BoundedLabel()
        self._provider = BoundedLabel(50)
        self._lag_at = 0.0
        self._deferred_at = 0.0

    def count(self, outcomes: Sequence[Outcome], extent: Extent) -> None:
        """Count a committed batch; `extent` is where its records begin and end."""
        metrics.BATCH_RECORDS.observe(len(outcomes))
        # A metric is looked up once for all records of a kind: lookups cost more than counting.
        kinds = Counter((outcome.outcome, outcome.reason) for outcome in outcomes)
        for (outcome, reason), count in kinds.items():
            if outcome is OutcomeKind.UNIT:
                metrics.USAGE_UNITS.labels(reason).inc(count)
            else:
                metrics.RECORDS.labels(outcome, reason).inc(count)
        self._count_charged(
            [
                each.receipt
                for each in outcomes
                if each.receipt and each.outcome is OutcomeKind.CREATED
            ]
        )
        for each in outcomes:
            if each.outcome is OutcomeKind.DEFERRED:
                self._count_deferred(each)
        for (topic, partition), offset in extent.end.items():
            metrics.COMMITTED_OFFSET.labels(topic, str(partition)).set(offset)

    def _count_charged(self, receipts: Sequence[Receipt]) -> None:
        now = time.time()
        delays = [max(now - receipt.occurred_at.timestamp(), 0.0) for receipt in receipts]
        metrics.RECEIPT_DELAY_SECONDS.observe(delays)
        charged: Counter[str] = Counter()
        for receipt in receipts:
            charged[receipt.charge_reason] += receipt.charged_credits
        for reason, credits_ in charged.items():
            metrics.CHARGED_CREDITS.labels(reason).inc(credits_)
        marks = Counter(mark for receipt in receipts for mark in receipt.marks)
        metrics.POSSIBLE_DOUBLE.inc(marks[POSSIBLE_DOUBLE])
        for mark, missing in _UNATTRIBUTED.items():
            if mark in marks:
                metrics.UNATTRIBUTED.labels(missing).inc(marks[mark])
        for mark, verdict in VERDICTS.items():
            if mark in marks:
                metrics.SIGNATURES.labels(verdict).inc(marks[mark])

    def _count_deferred(self, outcome: Outcome) -> None:
        deferred = outcome.decided.decision
        if not isinstance(deferred, Deferred):
            return
        labels = (self._model(deferred.model), self._provider(deferred.provider))
        match deferred.reason:
            case DeferredReason.UNUSABLE_COST:
                metrics.UNUSABLE_COST.labels(*labels).inc()
            case DeferredReason.AMBIGUOUS_READ:
                metrics.AMBIGUOUS_READS.labels(*labels).inc()
            case DeferredReason.SUSPICIOUS_ZERO:
                metrics.DEFERRED_PAID.labels(*labels).inc()
            case DeferredReason.MISSING_COST:
                metrics.DEFERRED_PAID.labels(*labels).inc()
                metrics.MISSING_COST.labels(*labels).inc()

    def observe(
        self,
        consumer: Consumer,
        ledger: Ledger,
        patiently: Callable[[Callable[[], None]], None],
    ) -> None:
        """Refresh lag, open deferrals and health, each at its own pace.

        `patiently` runs what asks the ledger, whose answer may be long in coming.
        """
        now = self._now()
        if now - self._lag_at >= _LAG_EVERY_SECONDS:
            self._lag_at = now
            self._health.observed(self._observe_lag(consumer))
        if now - self._deferred_at >= _DEFERRED_EVERY_SECONDS:
            self._deferred_at = now
            patiently(partial(self._ask, ledger))
            if self._health.missing == "kafka":
                self._look_for_kafka(consumer)

    def _ask(self, ledger: Ledger) -> None:
        self._observe_deferred(ledger)
        if self._health.missing != "postgresql":
            self.remember()

    def remember(self) -> None:
        """Have the ledger remember what is published; the next batch does so in any case."""
        try:
            self._offsets.remember()
        except LedgerError as error:
            RETRIES.labels("postgresql").inc()
            log.warning("published offsets not written", error=type(error).__name__)

    def _observe_deferred(self, ledger: Ledger) -> None:
        try:
            open_, oldest_seconds = ledger.open_deferred()
            waiting, waiting_seconds = ledger.waiting_responses()
        except LedgerError as error:
            # The next batch meets the same database and waits for it; a gauge may be late.
            self._health.missing = "postgresql"
            RETRIES.labels("postgresql").inc()
            log.warning("open deferrals not counted", error=type(error).__name__)
        else:
            if self._health.missing == "postgresql":
                self._health.missing = None
            metrics.DEFERRED_OPEN.set(open_)
            metrics.DEFERRED_OLDEST_SECONDS.set(oldest_seconds)
            metrics.WAITING_RESPONSES.set(waiting)
            metrics.WAITING_OLDEST_SECONDS.set(waiting_seconds)

    def _look_for_kafka(self, consumer: Consumer) -> None:
        """See whether a broker answers again; with nothing to consume, nothing else would tell."""
        try:
            consumer.list_topics(timeout=1.0)
        except KafkaException as error:
            KAFKA_ERRORS.labels(error.args[0].name()).inc()
        else:
            self._health.missing = None

    def _observe_lag(self, consumer: Consumer) -> int:
        total = 0
        try:
            for part in consumer.position(consumer.assignment()):
                _, high = consumer.get_watermark_offsets(part, cached=True)
                if high >= 0 and part.offset >= 0:
                    lag = max(high - part.offset, 0)
                    total += lag
                    metrics.LAG.labels(part.topic, str(part.partition)).set(lag)
        except KafkaException as error:
            KAFKA_ERRORS.labels(error.args[0].name()).inc()
        return total

    def forget(self, partitions: Sequence[TopicPartition]) -> None:
        """Drop what is said of partitions that another member now reports."""
        for part in partitions:
            for gauge in (metrics.LAG, metrics.COMMITTED_OFFSET):
                try:
                    gauge.remove(part.topic, str(part.partition))
                except KeyError:
                    continue  # never reported
