"""Replay: dead letters back to the callbacks topic, and a range of callbacks through the ledger.

Both are idempotent (CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID): a call that has its receipt keeps it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, Message, Producer

from charging.decision import Policy, decide
from charging.outcomes import Charge, Decided, Deferred, OutcomeKind, Parked, Skipped
from ledger.receipts import ReceiptWriter
from schemas import headers as names
from schemas.headers import header
from schemas.record import Record
from schemas.topics import Topics

_ADDED: Final = frozenset({
    names.REASON,
    names.REASON_DETAIL,
    names.ORIGINAL_TOPIC,
    names.ORIGINAL_PARTITION,
    names.ORIGINAL_OFFSET,
    names.ORIGINAL_TIMESTAMP,
    names.CONSUMER_GROUP,
    names.APPLICATION_VERSION,
    names.HEADER_NAMES_LOST,
    names.HEADERS_CUT,
    names.KEY_CUT,
    names.REPLAYED_FROM,
})  # fmt: skip
_FLUSH_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter and what its headers say about it."""

    record: Record
    reason: str
    whole: bool
    """False for a part of a body that was too large for one record: it cannot be replayed."""


def dead_letters(batches: Iterable[list[Record]], reasons: set[str]) -> Iterator[DeadLetter]:
    """Yield the letters whose reason is one of `reasons`, or all where that is empty."""
    for batch in batches:
        for record in batch:
            reason = header(record.headers, names.REASON) or "unknown"
            if not reasons or reason in reasons:
                yield DeadLetter(record, reason, not _is_part(record))


def _is_part(record: Record) -> bool:
    """Whether the value is a part of a larger one: the last header says so, which is ours."""
    return bool(record.headers) and record.headers[-1][0] == names.PART_INDEX


class Resender:
    """Sends dead letters back with their own key, bytes and headers.

    Usage units go to their own topic; everything else, also what the gateway parked, is a callback.
    """

    def __init__(self, config: Mapping[str, Any], topics: Topics) -> None:
        self._producer = Producer(dict(config))
        self._topics = topics
        self.failed = 0

    def send(self, letter: DeadLetter) -> None:
        """Queue one letter; waits while the queue is full."""
        record = letter.record
        origin = f"{record.topic}/{record.partition}/{record.offset}"
        kept = [(name, value) for name, value in record.headers if name not in _ADDED]
        headers: Any = [*kept, (names.REPLAYED_FROM, origin.encode())]
        units = self._topics.usage_units.name
        is_unit = header(record.headers, names.ORIGINAL_TOPIC) == units
        while True:
            try:
                self._producer.produce(
                    units if is_unit else self._topics.callbacks.name,
                    value=record.value,
                    key=record.key,
                    headers=headers,
                    on_delivery=self._report,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def _report(self, error: KafkaError | None, _: Message) -> None:
        self.failed += error is not None

    def finish(self) -> int:
        """Wait for every delivery report; return how many letters did not arrive."""
        return self._producer.flush(_FLUSH_SECONDS) + self.failed


def rebuild(
    batches: Iterable[list[Record]],
    policy: Policy,
    ledger: ReceiptWriter | None,
    progress: Callable[[int], None],
) -> Counter[tuple[str, str]]:
    """Process callbacks again and count the outcomes; without a ledger only decide.

    Publishes nothing: subscribers have had the events, and receipts keep their ids. Dead letters
    are counted, not sent again.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for batch in batches:
        decided = [Decided(record, decide(record, policy)) for record in batch]
        if ledger is None:
            counts.update(_foreseen(each) for each in decided)
        else:
            counts.update((each.outcome, each.reason) for each in ledger.write(decided))
        progress(len(batch))
    return counts


def _foreseen(decided: Decided) -> tuple[str, str]:
    match decided.decision:
        case Charge(receipt):
            return "receipt", receipt.charge_reason
        case Deferred(reason):
            return OutcomeKind.DEFERRED, reason
        case Skipped(reason):
            return OutcomeKind.SKIPPED, reason
        case Parked(reason):
            return OutcomeKind.PARKED, reason
    return OutcomeKind.UNIT, ""
