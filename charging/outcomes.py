"""What a record turned into: the outcomes of the decision, and of writing it.

`gc=False`: none of these refers back to what holds it, so a garbage collector finds nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

import msgspec

from schemas.headers import Reason
from schemas.receipt import ChargeReason, Receipt
from schemas.record import Record
from schemas.usage import UsageUnit


class OutcomeKind(StrEnum):
    """What became of a record (NOTHING_VANISHES)."""

    CREATED = "created"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    DEFERRED = "deferred"
    SKIPPED = "skipped"
    PARKED = "parked"
    UNIT = "unit"
    """A usage unit, which is counted apart."""


class DeferredReason(StrEnum):
    """Why a call has no receipt yet."""

    SUSPICIOUS_ZERO = "suspicious_zero"
    MISSING_COST = "missing_cost"
    UNUSABLE_COST = "unusable_cost"
    """The cost is no money: negative, infinite, a text, out of range."""
    AWAITING_RESULT = "awaiting_result"
    """It ordered a background response, of which no result has come."""
    AWAITING_CREATE = "awaiting_create"
    """It read a background response, of which no create has come."""
    AMBIGUOUS_READ = "ambiguous_read"
    """Nothing tells what it read."""


class SkippedReason(StrEnum):
    """Why a record costs nothing."""

    TOMBSTONE = "tombstone"
    SELF_TEST = "self_test"
    FAILED_CALL = "failed_call"
    REFUSED_CALL = "refused_call"
    """The spend guard's plugin refused it before a model was asked."""
    NOT_BILLABLE = "not_billable"
    NO_USAGE = "no_usage"


class DuplicateReason(StrEnum):
    """What a repeated call had already."""

    RECEIPT = "receipt"
    DEFERRED = "deferred"
    REPLAYED = "replayed"
    """A receipt that this very record wrote before a crash: its event goes out again."""


class ConflictReason(StrEnum):
    """In what a repeated call contradicts its receipt."""

    CONTENT = "content"


class UnitReason(StrEnum):
    """Whether a usage unit was there before."""

    NEW = "new"
    KNOWN = "known"


OutcomeReason: TypeAlias = (
    ChargeReason
    | DeferredReason
    | SkippedReason
    | DuplicateReason
    | ConflictReason
    | UnitReason
    | Reason
)


class Resolution(StrEnum):
    """How a deferral was closed."""

    CALLBACK = "callback"
    """The call has a receipt of its own, from a later callback."""
    SETTLED = "settled"
    """It has one whose cost a person has set."""
    RESULT = "result"
    """A create whose result is charged, under the result's key."""
    NO_CHARGE = "no_charge"
    """A create whose response was given up."""
    WAIVED = "waived"
    """By a person, without a receipt."""
    SPEND_LOG = "spend_log"
    """It has a receipt whose cost is that of LiteLLM's spend log."""
    COST_BREAKDOWN = "cost_breakdown"
    """It has one whose cost the operator's rule took from the callback's `cost_breakdown`."""
    REOPENED = "reopened"
    """It was closed without a receipt, and a charge came after all: a person decides."""
    ACCEPTED = "accepted"
    """A person has accepted that charge."""
    UPHELD = "upheld"
    """A person has said again that it costs nothing; the receipt is to be given back."""


class Settlement(msgspec.Struct, frozen=True):
    """Who set the cost of a deferred call by hand, and why.

    `call_key` is the deferral's; empty where the record does not say it, which older ones do not.
    `from_breakdown` says that the cost is the callback's `cost_breakdown`, taken by a rule.
    """

    by: str
    note: str
    call_key: str = ""
    from_breakdown: bool = False


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
    """A receipt to write, with what the table keeps beside the event.

    `started_at` is None where nothing that is believed says when the call began. `hold` is the id
    of the hold that the spend guard gave the call, as the callback says it; none of an experiment.
    """

    receipt: Receipt
    content_hash: str
    provider_call_id: str | None
    saved_cache_cost: Decimal | None
    settlement: Settlement | None = None
    link: Link | None = None
    key_hash: str | None = None
    user_id: str | None = None
    started_at: datetime | None = None
    hold: str | None = None


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Team, key, user and organisation of a call, as far as the proxy names them."""

    team_id: str | None = None
    team_alias: str | None = None
    key_alias: str | None = None
    key_hash: str | None = None
    user_id: str | None = None
    organization_id: str | None = None


class Deferred(msgspec.Struct, frozen=True, gc=False):
    """A call that should have cost something and says zero, nothing, or what is no money.

    `sent_cost` is what the sender wrote in the last case. `held` is what becomes a receipt, or what
    a receipt takes over, when the other callbacks of `link` have come. `billing_account_id` is whom
    its receipt would charge.
    """

    reason: DeferredReason
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
    billing_account_id: str | None = None
    caller: Caller = Caller()
    started_at: datetime | None = None
    sub_agent_id: str | None = None
    parent_sub_agent_id: str | None = None
    tags: Sequence[str] = ()


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """Costs nothing by rule; `hold` is the hold of the call, as the callback says it."""

    reason: SkippedReason
    link: Link | None = None
    hold: str | None = None


class Parked(msgspec.Struct, frozen=True):
    """Cannot be billed as it stands: goes to the dead-letter topic byte for byte."""

    reason: Reason
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

    `receipt` is there where its event has to be published.
    """

    decided: Decided
    outcome: OutcomeKind
    reason: OutcomeReason
    receipt: Receipt | None = None
