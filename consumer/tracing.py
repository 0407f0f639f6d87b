"""Traces of the consumer: a batch, and within it what it writes and what it publishes.

A batch is part of no single trace, as its records are of many: it is linked to each. What it
publishes carries the batch's as `traceparent`.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from charging.outcomes import Decided, Outcome, OutcomeKind
from consumer import metrics
from consumer.extent import Extent
from consumer.outside import Ledger
from consumer.publisher import Publisher, PublishError
from ledger.gap import Published
from runtime.tracing import Traces, parent_in, parent_of, sampled_in, sending
from schemas.record import Provenance

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_POSTGRESQL: Final = {"db.system.name": "postgresql"}
_MOST_BATCHES: Final = 8
"""More than are ever in hand: those beyond were given up."""


class Batches:
    """The batches under way, told from the first write to the commit. For any thread.

    Args:
        traces: of the process.
        group: of the consumer.
    """

    def __init__(self, traces: Traces, group: str) -> None:
        self.traces = traces
        self._group = group
        self._under_way = OrderedDict[Provenance, "Span"]()

    def begin(self, batch: Sequence[Decided]) -> "Span":
        """Return what tells of a batch; one that is written again is told again."""
        first = batch[0].record
        parents = dict.fromkeys(
            parent for one in batch if (parent := parent_in(one.record.headers))
        )
        span = self.traces.begin(
            f"process {first.topic}",
            "CONSUMER",
            {
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": first.topic,
                "messaging.consumer.group.name": self._group,
                "messaging.batch.message_count": len(batch),
            },
            list(parents),
        )
        if (former := self._under_way.pop(first.provenance, None)) is not None:
            former.end()
        self._under_way[first.provenance] = span
        while len(self._under_way) > _MOST_BATCHES:
            self._under_way.popitem(last=False)[1].end()
        return span

    def end(self, outcomes: Sequence[Outcome]) -> "Span | None":
        """Return what tells of a batch that is written, for the last time; the caller ends it."""
        if not outcomes:
            return None
        return self._under_way.pop(outcomes[0].decided.record.provenance, None)


class TracedLedger:
    """The books, each batch told."""

    def __init__(self, ledger: Ledger, batches: Batches) -> None:
        self._ledger = ledger
        self._batches = batches
        self.takes = ledger.takes
        self.remember = ledger.remember
        self.known = ledger.known
        self.move = ledger.move
        self.open_deferred = ledger.open_deferred
        self.waiting_responses = ledger.waiting_responses
        self.abandon = ledger.abandon

    def write(self, batch: Sequence[Decided], published: Sequence[Published] = ()) -> list[Outcome]:
        """Write a batch in one transaction."""
        if not batch:
            return self._ledger.write(batch, published)
        traces, span = self._batches.traces, self._batches.begin(batch)
        with traces.within(span), traces.part("write receipts", "CLIENT", _POSTGRESQL) as part:
            outcomes = self._ledger.write(batch, published)
            created = sum(one.outcome is OutcomeKind.CREATED for one in outcomes)
            part.set_attribute("billing.receipts", created)
        return outcomes


class TracedEvents:
    """The transactions of the topics, each told, and part of it what is published.

    Args:
        publisher: of the process.
        batches: under way.
        topic: of the receipts.
    """

    def __init__(self, publisher: Publisher, batches: Batches, topic: str) -> None:
        self._publisher = publisher
        self._batches = batches
        self._topic = topic
        self.renew = publisher.renew

    def publish(self, outcomes: Sequence[Outcome], extent: Extent, metadata: object) -> None:
        """Commit the events, the dead letters and the offsets of a batch, all or nothing."""
        span = self._batches.end(outcomes)
        if span is None:
            self._publisher.publish(outcomes, extent, metadata)
            return
        traces = self._batches.traces
        sent = sending(self._topic, sum(one.receipt is not None for one in outcomes))
        try:
            with traces.within(span), traces.part(f"send {self._topic}", "PRODUCER", sent) as part:
                self._publisher.publish(outcomes, extent, metadata, parent_of(part))
        except PublishError as error:
            traces.failed(span, error)
            raise
        finally:
            span.end()
        _exemplify(outcomes)


def _exemplify(outcomes: Sequence[Outcome]) -> None:
    """Name the trace of the call whose receipt took longest, beside the delay that it counts as."""
    now, slowest = time.time(), dict[str, float]()
    for one in outcomes:
        if one.receipt is not None and one.outcome is OutcomeKind.CREATED:
            trace = sampled_in(one.decided.record.headers)
            if trace is not None:
                slowest[trace] = max(now - one.receipt.occurred_at.timestamp(), 0.0)
    if slowest:
        trace = max(slowest, key=slowest.__getitem__)
        metrics.RECEIPT_DELAY_SECONDS.exemplify(slowest[trace], {"trace_id": trace})
