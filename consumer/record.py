"""A record as it came from Kafka, and what it turned into."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias

from confluent_kafka import Message

from schemas.receipt import Receipt
from schemas.record import Headers
from schemas.usage import UsageUnit


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record. `timestamp_ms` is Kafka's own, milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Headers

    @classmethod
    def of(cls, message: Message) -> "Record":
        """Take over a message that carries no error; a tombstone has an empty value."""
        return cls(
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            timestamp_ms=max(message.timestamp()[1], 0),
            key=_bytes(message.key()),
            value=_bytes(message.value()) or b"",
            headers=_headers(message),
        )


def _headers(message: Message) -> Headers:
    headers: object = message.headers()
    pairs = headers if isinstance(headers, list) else []
    return [(str(pair[0]), _bytes(pair[1]) or b"") for pair in pairs]


def _bytes(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else None


@dataclass(frozen=True, slots=True)
class Published:
    """Every record of a partition below `next_offset` was published by `group`.

    `topic_id` tells the topic from a later one of the same name.
    """

    group: str
    topic: str
    partition: int
    topic_id: str
    next_offset: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """Who set the cost of a deferred call by hand, and why."""

    by: str
    note: str


@dataclass(frozen=True, slots=True)
class Charge:
    """A receipt to write, with what the table keeps beside the event."""

    receipt: Receipt
    content_hash: str
    provider_call_id: str | None
    saved_cache_cost: Decimal | None
    settlement: Settlement | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """A call that should have cost something and says zero or nothing."""

    reason: str
    source_system: str
    call_key: str
    litellm_call_id: str | None
    response_id: str
    run_id: str
    model: str | None
    provider: str | None
    tokens_in: int | None
    tokens_out: int | None
    suggested_cost_usd: Decimal | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Skipped:
    """Costs nothing by rule."""

    reason: str


@dataclass(frozen=True, slots=True)
class Parked:
    """Cannot be billed as it stands: goes to the dead-letter topic byte for byte."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Usage:
    """An executor's statement, kept for reconciliation; never billed (ADAPTERS_NEVER_BILL)."""

    unit: UsageUnit


Decision: TypeAlias = Charge | Deferred | Skipped | Parked | Usage


@dataclass(frozen=True, slots=True)
class Decided:
    """A record and the decision about it."""

    record: Record
    decision: Decision


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record.

    `outcome` is created, duplicate, conflict, deferred, skipped, parked or unit
    (NOTHING_VANISHES); `receipt` is there where its event has to be published.
    """

    decided: Decided
    outcome: str
    reason: str
    receipt: Receipt | None = None
