"""The decision: what a callback turns into. Pure: no clock, no network, no database.

The table of the design, the first line that fits. Nothing here computes a cost
(COST_ORACLE_IS_LITELLM): `response_cost` is billed, `cost_breakdown` is at most a suggestion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from typing import Final

from pydantic import ValidationError

from consumer.charge import Accounts, ChargeTerms, build_charge, build_deferred
from consumer.record import Charge, Decision, Deferred, Parked, Record, Settlement, Skipped, Usage
from schemas.callback import Callback
from schemas.element import ContractError
from schemas.identity import read_identified
from schemas.receipt import ChargeReason
from schemas.record import RECEIVED_AT, SETTLED_BY, SETTLED_NOTE, SOURCE, header
from schemas.text import identifier, storable
from schemas.usage import UsageUnit

SELF_TEST_MODEL: Final = "litellm-mock-response-model"
DEFAULT_SOURCE: Final = "litellm"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decides: the settings that the decision depends on."""

    markup: Decimal
    free_models: tuple[str, ...]
    not_billable_call_types: frozenset[str]
    accounts: Accounts
    usage_units_topic: str


@lru_cache(maxsize=4_096)
def is_free(model: str, patterns: tuple[str, ...]) -> bool:
    """Say whether the operator lists `model` as free; patterns are case-sensitive globs."""
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def _is_batch_result(callback: Callback) -> bool:
    """A retrieved batch that has used tokens is finished, so its zero needs an explanation."""
    used = (callback.prompt_tokens or 0) + (callback.completion_tokens or 0)
    return callback.call_type == "aretrieve_batch" and used > 0


def _zero_verdict(callback: Callback, policy: Policy) -> ChargeReason | Skipped | str:
    """Judge a call of cost zero or without one; a bare text is the reason of a deferral."""
    cost = callback.response_cost
    if callback.status != "success":
        return Skipped("failed_call")
    if cost is not None and callback.cache_hit is True:
        return ChargeReason.CACHE_HIT
    if is_free(callback.model_group or callback.model or "", policy.free_models):
        return ChargeReason.FREE_MODEL
    if cost is None:
        return "missing_cost"
    if callback.call_type in policy.not_billable_call_types and not _is_batch_result(callback):
        return Skipped("not_billable")
    return "suspicious_zero"


@lru_cache(maxsize=1_024)
def _source_system(source: bytes) -> str:
    return identifier(source.decode("utf-8", "replace") or DEFAULT_SOURCE)


def _settlement(headers: Mapping[str, bytes]) -> Settlement | None:
    if not (by := headers.get(SETTLED_BY)):
        return None
    note = headers.get(SETTLED_NOTE, b"")
    return Settlement(
        identifier(by.decode("utf-8", "replace")), storable(note.decode("utf-8", "replace"))
    )


def _received_ms(record: Record) -> int:
    """When the gateway took the callback: unlike Kafka's time, a replay does not change it."""
    try:
        received = datetime.fromisoformat(header(record.headers, RECEIVED_AT) or "")
    except ValueError:
        return record.timestamp_ms
    if received.tzinfo is None:
        return record.timestamp_ms
    return max(min(round(received.timestamp() * 1_000), record.timestamp_ms), 0)


def _decide_callback(record: Record, policy: Policy) -> Charge | Deferred | Skipped:
    callback, who, lenient = read_identified(record.value)
    if callback.model == SELF_TEST_MODEL:
        return Skipped("self_test")
    # Where a name occurs twice, the last one counts, as in `header`.
    headers = dict(record.headers)
    terms = ChargeTerms(
        source_system=_source_system(headers.get(SOURCE, b"")),
        identity=who,
        received_ms=partial(_received_ms, record),
        lenient=lenient,
        settlement=_settlement(headers),
    )
    if callback.response_cost:
        reason = ChargeReason.USAGE if callback.status == "success" else ChargeReason.PARTIAL
        return build_charge(callback, terms, policy.accounts, policy.markup, reason)
    verdict = _zero_verdict(callback, policy)
    if isinstance(verdict, Skipped):
        return verdict
    if isinstance(verdict, ChargeReason):
        return build_charge(callback, terms, policy.accounts, policy.markup, verdict)
    return build_deferred(callback, terms, verdict)


def decide(record: Record, policy: Policy) -> Decision:
    """Return what `record` turns into. Never raises for what a sender can send."""
    try:
        if record.topic == policy.usage_units_topic:
            return Usage(UsageUnit.model_validate_json(record.value))
        return _decide_callback(record, policy)
    except ContractError as error:
        return Parked(error.reason, str(error))
    except ValidationError as error:
        return Parked("contract_broken", f"not a usage unit: {error.error_count()} faults")


def decide_all(records: Sequence[Record], policy: Policy) -> list[Decision]:
    """Decide a batch, in order."""
    return [decide(record, policy) for record in records]
