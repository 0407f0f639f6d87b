"""A record as it came from Kafka, and what it turned into.

`gc=False`: none of these refers back to what holds it, so a garbage collector finds nothing.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec
from confluent_kafka import Message

from consumer.headers import read_headers
from schemas.receipt import Receipt
from schemas.record import FoundHeaders
from schemas.usage import UsageUnit

UNSTORABLE: Final = "unstorable"
"""The reason of a dead letter whose row PostgreSQL refused."""
_ALL_LOST: Final = -1


Place: TypeAlias = tuple[str, int, int]
"""Where a record stands: topic, partition, offset."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record, as far as the client hands it out; anybody may have produced it.

    `timestamp_ms` is Kafka's own, milliseconds since the epoch, and any number; `taken_ms` is when
    this process took the record, 0 where that is not known. `value` is None for a tombstone.
    `names_lost` headers have names that the client cannot read.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: FoundHeaders
    taken_ms: int = 0
    names_lost: int = 0

    @classmethod
    def of(cls, message: Message, taken_ms: int = 0) -> "Record":
        """Take over a message that carries no error. Never raises."""
        headers = read_headers(message)
        return cls(
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            timestamp_ms=message.timestamp()[1],
            key=_bytes(message.key()),
            value=_bytes(message.value()),
            headers=headers.pairs if headers else (),
            taken_ms=taken_ms,
            names_lost=headers.names_lost if headers else _ALL_LOST,
        )

    @property
    def place(self) -> Place:
        """Where it stands; a receipt keeps it as its provenance."""
        return (self.topic, self.partition, self.offset)

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.value or b"")

    @property
    def headers_unreadable(self) -> bool:
        """Whether the client could not hand out a single header of the record."""
        return self.names_lost == _ALL_LOST


def _bytes(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else None


class Published(msgspec.Struct, frozen=True):
    """Up to where `group` has come in a partition, for the ledger to remember.

    Every record below `next_offset` is in the ledger, and every one below `published_offset` has
    been published. `topic_id` tells the topic from a later one of the same name. `committed` is
    what the group had committed in Kafka before: a ledger that knows less has lost receipts.
    """

    group: str
    topic: str
    partition: int
    topic_id: str
    next_offset: int
    published_offset: int
    committed: int = 0


class Settlement(msgspec.Struct, frozen=True):
    """Who set the cost of a deferred call by hand, and why.

    `call_key` is the deferral's; empty where the record does not say it, which older ones do not.
    """

    by: str
    note: str
    call_key: str = ""


class Role(StrEnum):
    """What a callback tells of a response that is made in the background."""

    CREATE = "create"
    """It was ordered, and has cost nothing yet."""
    FINISHED = "finished"
    """It was ordered and done at once: a charge of its own, which its reads repeat."""
    READ = "read"
    """What it cost, once more."""
    ENDED = "ended"
    """It was given up, and costs nothing."""


class Link(msgspec.Struct, frozen=True, gc=False):
    """Which background response a callback is about, as far as anything tells.

    `digest` is what all callbacks of one response share, `result_key` what its reads share; the
    first two roles and the last have no use for the latter or none at all.
    """

    source_system: str
    digest: str
    role: Role
    result_key: str = ""


class Charge(msgspec.Struct, frozen=True, gc=False):
    """A receipt to write, with what the table keeps beside the event."""

    receipt: Receipt
    content_hash: str
    provider_call_id: str | None
    saved_cache_cost: Decimal | None
    settlement: Settlement | None = None
    link: Link | None = None


class Deferred(msgspec.Struct, frozen=True, gc=False):
    """A call that should have cost something and says zero, nothing, or what is no money.

    `sent_cost` is what the sender wrote in the last case. `held` is what becomes a receipt, or what
    a receipt takes over, when the other callbacks of `link` have come.
    """

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
    sent_cost: str | None = None
    link: Link | None = None
    held: Charge | None = None


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """Costs nothing by rule."""

    reason: str
    link: Link | None = None


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
