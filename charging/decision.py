"""The decision: what a callback turns into. Pure: no clock, no network, no database.

The table of the design, the first line that fits. Nothing here computes a cost
(COST_ORACLE_IS_LITELLM): `response_cost` is billed, `cost_breakdown` is at most a suggestion.
"""

from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from msgspec.structs import replace
from pydantic import ValidationError

from charging.account import Accounts, internal_reason
from charging.background import is_ordered, link_of, linked, settled
from charging.call_shape import Shape, reads, reads_response, shape_of
from charging.charge import build_charge, build_deferred
from charging.origin import origin_of
from charging.outcomes import (
    Charge,
    Decision,
    Deferred,
    DeferredReason,
    Link,
    Parked,
    Role,
    Skipped,
    SkippedReason,
    Usage,
)
from charging.spend import spend_of
from charging.terms import ChargeTerms
from schemas.callback import Callback, ContractError
from schemas.headers import Reason
from schemas.identity import BATCH_RETRIEVES, read_key
from schemas.reader import read_callback
from schemas.receipt import ChargeReason
from schemas.record import Record
from schemas.text import SURELY_WHOLE
from schemas.usage import UsageUnit

SELF_TEST_MODEL: Final = "litellm-mock-response-model"
MOST_BYTES: Final = 128 * 1024 * 1024
"""What is larger than any POST that the gateway takes by default is not read: only a foreign
producer can have compressed it, and reading takes its memory several times over."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides: the settings that the decision depends on."""

    markup: Decimal
    free_models: tuple[str, ...]
    not_billable_call_types: frozenset[str]
    accounts: Accounts
    usage_units_topic: str


def is_free(model: str, patterns: tuple[str, ...]) -> bool:
    """Say whether the operator lists `model` as free; patterns are case-sensitive globs."""
    if len(model) <= SURELY_WHOLE:
        return _known_to_be_free(model, patterns)
    return _fits(model, patterns)


def _fits(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


# Only short names are remembered: a sender could fill the memory with long ones.
_known_to_be_free: Final = lru_cache(maxsize=4_096)(_fits)


def _used_tokens(callback: Callback) -> bool:
    counts = [callback.prompt_tokens, callback.completion_tokens]
    if counts == [None, None]:
        counts = [callback.total_tokens]
    return any(count is not None and count > 0 for count in counts)


def _without_a_price(callback: Callback, policy: Policy) -> SkippedReason | None:
    """Judge a call that costs nothing by what it is; None where that needs an explanation."""
    call_type, used = callback.call_type, _used_tokens(callback)
    # A retrieved batch that has used tokens is finished: its cost is told nowhere else.
    finished = used and call_type in BATCH_RETRIEVES
    if callback.response_cost is not None and call_type in policy.not_billable_call_types:
        return None if finished else SkippedReason.NOT_BILLABLE
    shape = shape_of(call_type)
    if shape is Shape.MANAGEMENT and (not used or reads_response(call_type)):
        return SkippedReason.NOT_BILLABLE
    if shape is Shape.UNKNOWN and not used:
        return SkippedReason.NO_USAGE
    return None


def _judge_cost(
    callback: Callback, terms: ChargeTerms, policy: Policy, value: bytes
) -> Charge | Deferred:
    """Judge a call of a cost: a receipt, unless it only tells again what another call has cost."""
    reason = ChargeReason.USAGE if callback.status == "success" else ChargeReason.PARTIAL
    charge = build_charge(callback, terms, policy.accounts, policy.markup, reason)
    if settlement := terms.origin.settlement:
        return settled(charge, settlement.call_key)
    if link := link_of(terms.reading, value, terms.origin.source_system):
        return linked(charge, link)
    if reads(callback.call_type) and callback.call_type not in BATCH_RETRIEVES:
        deferred = build_deferred(callback, terms, policy.accounts, DeferredReason.AMBIGUOUS_READ)
        return replace(
            deferred,
            call_key=read_key(callback.litellm_call_id, callback.id),
            suggested_cost_usd=charge.receipt.response_cost_usd,
        )
    return charge


def _judge_zero(
    callback: Callback, terms: ChargeTerms, policy: Policy, value: bytes
) -> Charge | Deferred | Skipped:
    verdict = _zero_verdict(callback, policy)
    if isinstance(verdict, ChargeReason):
        return build_charge(callback, terms, policy.accounts, policy.markup, verdict)
    if isinstance(verdict, SkippedReason):
        if verdict is not SkippedReason.NOT_BILLABLE:
            return _skipped(callback, verdict)
        link = link_of(terms.reading, value, terms.origin.source_system)
        return _skipped(callback, verdict, link if link and link.role is Role.ENDED else None)
    if not is_ordered(terms.reading, value):
        return build_deferred(callback, terms, policy.accounts, verdict)
    # Its receipt, were there one: whose it is, for the receipt of its result.
    ordered = build_charge(callback, terms, policy.accounts, policy.markup, ChargeReason.USAGE)
    deferred = build_deferred(callback, terms, policy.accounts, DeferredReason.AWAITING_RESULT)
    link = link_of(terms.reading, value, terms.origin.source_system)
    return replace(deferred, link=link, held=ordered) if link else deferred


def _skipped(callback: Callback, reason: SkippedReason, link: Link | None = None) -> Skipped:
    """Return a call that costs nothing, with its hold, which only a fallback of it may still need.

    A call that failed because the guard refused it is no fault of a provider.
    """
    metadata = callback.metadata
    if metadata is None:
        return Skipped(reason, link)
    spend = spend_of(metadata)
    if spend.refused and reason is SkippedReason.FAILED_CALL:
        return Skipped(SkippedReason.REFUSED_CALL)
    # A silent experiment names the hold of the call beside which it was made.
    return Skipped(reason, link, None if internal_reason(metadata) else spend.hold)


def _zero_verdict(
    callback: Callback, policy: Policy
) -> ChargeReason | SkippedReason | DeferredReason:
    """Judge a call of cost zero or without one."""
    cost = callback.response_cost
    if callback.status != "success":
        return SkippedReason.FAILED_CALL
    if cost is not None and callback.cache_hit is True:
        return ChargeReason.CACHE_HIT
    if is_free(callback.model_group or callback.model or "", policy.free_models):
        return ChargeReason.FREE_MODEL
    if skipped := _without_a_price(callback, policy):
        return skipped
    return DeferredReason.MISSING_COST if cost is None else DeferredReason.SUSPICIOUS_ZERO


def _decide_callback(value: bytes, record: Record, policy: Policy) -> Charge | Deferred | Skipped:
    reading = read_callback(value)
    callback = reading.callback
    if callback.model == SELF_TEST_MODEL:
        return Skipped(SkippedReason.SELF_TEST)
    terms = ChargeTerms(origin_of(record), reading)
    if reading.sent_cost is not None:
        return build_deferred(callback, terms, policy.accounts, DeferredReason.UNUSABLE_COST)
    if callback.response_cost:
        return _judge_cost(callback, terms, policy, value)
    return _judge_zero(callback, terms, policy, value)


def _unread(record: Record, value: bytes) -> Parked | None:
    """Judge a record that is not even read."""
    if record.headers_unreadable:
        # Whose call it is stands in a header: charged to another source, it would be charged twice.
        return Parked(Reason.HEADERS_UNREADABLE, "the client cannot read the record's headers")
    if len(value) > MOST_BYTES:
        return Parked(Reason.TOO_LARGE, f"a value of {len(value)} bytes")
    return None


def decide(record: Record, policy: Policy) -> Decision:
    """Return what `record` turns into. Never raises for what a sender can send."""
    value = record.value
    if value is None:
        return Skipped(SkippedReason.TOMBSTONE)
    if parked := _unread(record, value):
        return parked
    try:
        if record.topic == policy.usage_units_topic:
            return Usage(UsageUnit.model_validate_json(value))
        return _decide_callback(value, record, policy)
    except ContractError as error:
        return Parked(error.reason, str(error))
    except ValidationError as error:
        return Parked(Reason.CONTRACT_BROKEN, f"not a usage unit: {error.error_count()} faults")
