"""From a callback to the rows that charge or defer it. Pure."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeGuard

import msgspec

from consumer.money import charge
from consumer.record import Charge, Deferred, Settlement
from schemas.callback import Callback, Metadata, UsageObject
from schemas.identity import Identity, run_attempt
from schemas.receipt import ChargeReason, Receipt, plain, receipt_id
from schemas.text import REPLACEMENT, SURELY_WHOLE, bounded, storable

HEALTH_CHECK: Final = "litellm-internal-health-check"
COST_SOURCE: Final = "litellm_callback"
SETTLED_COST_SOURCE: Final = "operator"

_MAX_BIGINT: Final = 9_223_372_036_854_775_807
_MAX_INTEGER: Final = 2_147_483_647
_LATEST_TIME: Final = 253_402_300_799.0
_NO_METADATA: Final = Metadata()
_MAX_TAGS: Final = 100
"""A client sends the tags, and a receipt's event has to fit its topic."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where accounts come from: fields in order, and the accounts for calls without a customer."""

    fields: tuple[str, ...]
    internal: str
    unattributed: str


class ChargeTerms(msgspec.Struct, frozen=True):
    """What is known about a call beside its callback.

    `received_ms` says when the gateway took it, in milliseconds since the epoch, for a callback
    without usable times.
    """

    source_system: str
    identity: Identity
    received_ms: Callable[[], int]
    lenient: bool
    settlement: Settlement | None = None


class _Texts:
    """Cleans text for the tables and remembers whether anything had to be replaced."""

    __slots__ = ("replaced",)

    def __init__(self) -> None:
        self.replaced = False

    def clean(self, text: object) -> str | None:
        if not text or not isinstance(text, str):
            return None
        if len(text) <= SURELY_WHOLE and text.isascii() and text.isprintable():
            return text
        stored = storable(text)
        self.replaced |= stored != text
        return bounded(stored)


def _house_reason(metadata: Metadata) -> ChargeReason | None:
    """Recognise calls that no customer asked for, by fields that no client can set.

    The request tag of a health probe is left out: a client could send it to escape its bill.
    """
    if HEALTH_CHECK in {metadata.user_api_key_alias, metadata.user_api_key_team_id}:
        return ChargeReason.HEALTH_PROBE
    return ChargeReason.SILENT_EXPERIMENT if metadata.is_silent_experiment else None


def _account(callback: Callback, metadata: Metadata, accounts: Accounts) -> str | None:
    """Return the first account there is; what a client says of itself may be its run instead."""
    headers = metadata.requester_custom_headers
    by_client = {
        "end_user": callback.end_user,
        "x-litellm-end-user-id": headers.end_user_id if headers else None,
    }
    for field in accounts.fields:
        said = field in by_client
        value = by_client[field] if said else getattr(metadata, field)
        if value and value.strip() and not (said and run_attempt(value)):
            return str(value)
    return None


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= _MAX_BIGINT else None


def _is_time(seconds: float | None) -> TypeGuard[float]:
    # A comparison with NaN is false, too.
    return seconds is not None and 0 < seconds < _LATEST_TIME


def _occurred_at(callback: Callback, terms: ChargeTerms) -> datetime:
    for said in (callback.endTime, callback.startTime):
        if _is_time(said):
            return datetime.fromtimestamp(said, UTC)
    return datetime.fromtimestamp(terms.received_ms() / 1_000, UTC)


def _milliseconds(start: float | None, end: float | None) -> int | None:
    if not _is_time(start) or not _is_time(end) or end < start:
        return None
    return min(round((end - start) * 1_000), _MAX_INTEGER)


def _content_hash(receipt: Receipt) -> str:
    """Hash what a conflict is about: cost, tokens, model, account. Equal amounts hash equally."""
    amount = plain(receipt.response_cost_usd)
    content = (
        amount.rstrip("0").rstrip(".") if "." in amount else amount,
        *map(str, (receipt.tokens_in, receipt.tokens_out)),
        *map(str, (receipt.tokens_cached_in, receipt.tokens_reasoning)),
        receipt.model or "",
        receipt.billing_account_id,
    )
    return hashlib.sha256("\x1f".join(content).encode()).hexdigest()


def _marks(
    callback: Callback, terms: ChargeTerms, reason: ChargeReason, *more: tuple[str, bool]
) -> list[str]:
    marks = (
        (reason.value, reason is not ChargeReason.USAGE),
        ("partial", callback.status != "success"),
        ("client_disconnected", callback.status == "success" and bool(callback.error_str)),
        ("unattributed_run", not terms.identity.attributed),
        ("lenient_json", terms.lenient),
        *more,
    )
    return sorted({name for name, holds in marks if holds})


def _tokens(callback: Callback, usage: UsageObject | None) -> dict[str, Any]:
    """Count each class of tokens, where the payload says; OpenAI and Anthropic name them apart."""
    cached = reasoning = None
    if usage:
        details, done = usage.prompt_tokens_details, usage.completion_tokens_details
        cached = _count(details.cached_tokens if details else None)
        if cached is None:
            cached = _count(usage.cache_read_input_tokens)
        reasoning = _count(done.reasoning_tokens if done else None)
    return {
        "tokens_in": _count(callback.prompt_tokens),
        "tokens_out": _count(callback.completion_tokens),
        "tokens_cached_in": cached,
        "tokens_reasoning": reasoning,
    }


def _times(callback: Callback, terms: ChargeTerms) -> dict[str, Any]:
    start, first = callback.startTime, callback.completionStartTime
    return {
        "occurred_at": _occurred_at(callback, terms),
        "latency_ms": _milliseconds(start, callback.endTime),
        "ttft_ms": _milliseconds(start, first) if callback.stream else None,
    }


def _tags(callback: Callback) -> list[str]:
    return callback.request_tags or []


def _names(callback: Callback, metadata: Metadata, texts: _Texts) -> dict[str, Any]:
    raw = metadata.spend_logs_metadata
    spend = raw if isinstance(raw, dict) else {}
    # The run id is made storable by its identity; only the remark is missing.
    texts.clean(spend.get("run_id"))
    agents = ("graph_id", "sub_agent_id", "parent_sub_agent_id", "tool_call_id")
    return {name: texts.clean(spend.get(name)) for name in agents} | {
        "litellm_call_id": texts.clean(callback.litellm_call_id),
        "response_id": texts.clean(callback.id) or REPLACEMENT,
        "model": texts.clean(callback.model_group) or texts.clean(callback.model),
        "provider_model": texts.clean(callback.model),
        "provider": texts.clean(callback.custom_llm_provider),
        "call_type": texts.clean(callback.call_type),
        "tags": [kept for tag in _tags(callback)[:_MAX_TAGS] if (kept := texts.clean(tag))],
    }


def build_charge(
    callback: Callback,
    terms: ChargeTerms,
    accounts: Accounts,
    markup: Decimal,
    reason: ChargeReason,
) -> Charge:
    """Return the receipt of a call: every column of it, and of its details.

    A call that no customer asked for goes to the house account, whatever `reason` says. Whether
    the receipt is written is the ledger's decision.
    """
    metadata = callback.metadata or _NO_METADATA
    who, texts = terms.identity, _Texts()
    house = _house_reason(metadata)
    named = accounts.internal if house else _account(callback, metadata, accounts)
    account = texts.clean(named) or accounts.unattributed
    provider_call_id = texts.clean(_provider_call_id(callback))
    names = _names(callback, metadata, texts)
    cost = callback.response_cost or Decimal(0)
    charged_usd, charged_credits = charge(cost, markup)
    receipt = Receipt(
        id=receipt_id(terms.source_system, who.call_key),
        source_system=terms.source_system,
        call_key=who.call_key,
        source_reference=f"{who.run_id}/{who.attempt}/{who.call_key}",
        run_id=who.run_id,
        attempt=who.attempt,
        billing_account_id=account,
        response_cost_usd=cost,
        charged_usd=charged_usd,
        charged_credits=charged_credits,
        cost_source=SETTLED_COST_SOURCE if terms.settlement else COST_SOURCE,
        charge_reason=house or reason,
        marks=_marks(
            callback,
            terms,
            house or reason,
            ("unattributed_account", named is None),
            ("text_replaced", texts.replaced),
            ("tags_cut", len(_tags(callback)) > _MAX_TAGS),
        ),
        stream=bool(callback.stream),
        **names,
        **_tokens(callback, metadata.usage_object),
        **_times(callback, terms),
    )
    saved = callback.saved_cache_cost if callback.cache_hit else None
    return Charge(receipt, _content_hash(receipt), provider_call_id, saved, terms.settlement)


def _provider_call_id(callback: Callback) -> str | None:
    hidden = callback.hidden_params
    headers = hidden.additional_headers if hidden else None
    return headers.request_id if headers else None


def build_deferred(callback: Callback, terms: ChargeTerms, reason: str) -> Deferred:
    """Return the deferral; a positive `cost_breakdown.total_cost` becomes a suggestion."""
    texts = _Texts()
    suggested = callback.cost_breakdown.total_cost if callback.cost_breakdown else None
    return Deferred(
        reason=reason,
        source_system=terms.source_system,
        call_key=terms.identity.call_key,
        litellm_call_id=texts.clean(callback.litellm_call_id),
        response_id=texts.clean(callback.id) or REPLACEMENT,
        run_id=terms.identity.run_id,
        model=texts.clean(callback.model_group) or texts.clean(callback.model),
        provider=texts.clean(callback.custom_llm_provider),
        tokens_in=_count(callback.prompt_tokens),
        tokens_out=_count(callback.completion_tokens),
        suggested_cost_usd=suggested or None,
        occurred_at=_occurred_at(callback, terms),
    )
