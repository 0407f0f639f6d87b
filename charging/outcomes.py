"""What a record turned into: the outcomes of the decision, and of writing it.

`gc=False`: none of these refers back to what holds it, so a garbage collector finds nothing.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from schemas.receipt import Receipt
from schemas.record import Record
from schemas.usage import UsageUnit

UNSTORABLE: Final = "unstorable"
"""The reason of a dead letter whose row PostgreSQL refused."""


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
