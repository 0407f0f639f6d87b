"""A record as it came from Kafka, and what it turned into.

`gc=False`: none of these refers back to what holds it, so a garbage collector finds nothing.
"""

from datetime import datetime
from decimal import Decimal
from typing import TypeAlias, cast

import msgspec
from confluent_kafka import Message

from schemas.receipt import Receipt
from schemas.record import Headers
from schemas.usage import UsageUnit


class Record(msgspec.Struct, frozen=True, gc=False):
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
    # Names are texts and values bytes or None, whatever the client's stubs allow for.
    pairs = cast("Headers", message.headers() or [])
    if any(value is None for _, value in pairs):
        return [(name, value or b"") for name, value in pairs]
    return pairs


def _bytes(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else None


class Published(msgspec.Struct, frozen=True):
    """Every record of a partition below `next_offset` was published by `group`.

    `topic_id` tells the topic from a later one of the same name.
    """

    group: str
    topic: str
    partition: int
    topic_id: str
    next_offset: int


class Settlement(msgspec.Struct, frozen=True):
    """Who set the cost of a deferred call by hand, and why."""

    by: str
    note: str


class Charge(msgspec.Struct, frozen=True, gc=False):
    """A receipt to write, with what the table keeps beside the event."""

    receipt: Receipt
    content_hash: str
    provider_call_id: str | None
    saved_cache_cost: Decimal | None
    settlement: Settlement | None = None


class Deferred(msgspec.Struct, frozen=True):
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


class Skipped(msgspec.Struct, frozen=True):
    """Costs nothing by rule."""

    reason: str


class Parked(msgspec.Struct, frozen=True):
    """Cannot be billed as it stands: goes to the dead-letter topic byte for byte."""

    reason: str
    detail: str


class Usage(msgspec.Struct, frozen=True):
    """An executor's statement, kept for reconciliation; never billed (ADAPTERS_NEVER_BILL)."""

    unit: UsageUnit


Decision: TypeAlias = Charge | Deferred | Skipped | Parked | Usage


class Decided(msgspec.Struct, frozen=True, gc=False):
    """A record and the decision about it."""

    record: Record
    decision: Decision


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one record.

    `outcome` is created, duplicate, conflict, deferred, skipped, parked or unit
    (NOTHING_VANISHES); `receipt` is there where its event has to be published.
    """

    decided: Decided
    outcome: str
    reason: str
    receipt: Receipt | None = None
