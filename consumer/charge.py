"""From a callback to the rows that charge or defer it. Pure."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from consumer.money import charge
from consumer.origin import Origin
from consumer.record import Charge, Deferred
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
_ZERO: Final = Decimal(0)
_MAX_TAGS: Final = 100
"""A client sends the tags, and a receipt's event has to fit its topic."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """Where accounts come from: fields in order, and the accounts for calls without a customer."""

    fields: tuple[str, ...]
    internal: str
    unattributed: str


class ChargeTerms(msgspec.Struct, frozen=True, gc=False):
    """What is known about a call beside its callback."""

    origin: Origin
    identity: Identity
    lenient: bool


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


def _time(seconds: float | None) -> float | None:
    # A comparison with NaN is false, too.
    return seconds if seconds is not None and 0 < seconds < _LATEST_TIME else None


def _times(callback: Callback, terms: ChargeTerms) -> tuple[datetime, int | None, int | None]:
    """Return when the call ended, and milliseconds to its end and to its first token."""
    start, end = _time(callback.startTime), _time(callback.endTime)
    first = _time(callback.completionStartTime) if callback.stream else None
    occurred_at = datetime.fromtimestamp(end or start or terms.origin.received_ms / 1_000, UTC)
    return occurred_at, _milliseconds(start, end), _milliseconds(start, first)


def _milliseconds(start: float | None, end: float | None) -> int | None:
    if not start or not end or end < start:
        return None
    return min(round((end - start) * 1_000), _MAX_INTEGER)


def _content_hash(receipt: Receipt) -> str:
    """Hash what a conflict is about: cost, tokens, model, account. Equal amounts hash equally."""
    r, amount = receipt, plain(receipt.response_cost_usd)
    if "." in amount:
        amount = amount.rstrip("0").rstrip(".")
    tokens = f"{r.tokens_in}\x1f{r.tokens_out}\x1f{r.tokens_cached_in}\x1f{r.tokens_reasoning}"
    content = f"{amount}\x1f{tokens}\x1f{r.model or ''}\x1f{r.billing_account_id}"
    return hashlib.sha256(content.encode()).hexdigest()


def _marks(
    callback: Callback, terms: ChargeTerms, reason: ChargeReason, *more: tuple[str, bool]
) -> list[str]:
    marks = {name for name, holds in more if holds}
    if reason is not ChargeReason.USAGE:
        marks.add(reason.value)
    if callback.status != "success":
        marks.add("partial")
    elif callback.error_str:
        marks.add("client_disconnected")
    if not terms.identity.attributed:
        marks.add("unattributed_run")
    if terms.lenient:
        marks.add("lenient_json")
    return sorted(marks)


def _tokens(usage: UsageObject | None) -> tuple[int | None, int | None]:
    """Count tokens read from a cache and spent on reasoning, as OpenAI or Anthropic name them."""
    if usage is None:
        return None, None
    details, done = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = _count(details.cached_tokens) if details else None
    if cached is None:
        cached = _count(usage.cache_read_input_tokens)
    return cached, _count(done.reasoning_tokens) if done else None


def _spend(metadata: Metadata) -> dict[str, Any]:
    said = metadata.spend_logs_metadata
    return said if isinstance(said, dict) else {}


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
    who, house, texts = terms.identity, _house_reason(metadata), _Texts()
    source, settlement = terms.origin.source_system, terms.origin.settlement
    clean = texts.clean
    named = accounts.internal if house else _account(callback, metadata, accounts)
    account = clean(named) or accounts.unattributed
    provider_call_id = clean(_provider_call_id(callback))
    spend = _spend(metadata)
    clean(spend.get("run_id"))  # Its identity made it storable; only the remark is missing.
    model, tags = clean(callback.model), callback.request_tags or []
    cost = callback.response_cost or _ZERO
    charged_usd, charged_credits = charge(cost, markup)
    cached, reasoning = _tokens(metadata.usage_object)
    occurred_at, latency_ms, ttft_ms = _times(callback, terms)
    receipt = Receipt(
        id=receipt_id(source, who.call_key), source_system=source,
        call_key=who.call_key, litellm_call_id=clean(callback.litellm_call_id),
        response_id=clean(callback.id) or REPLACEMENT, run_id=who.run_id, attempt=who.attempt,
        source_reference=f"{who.run_id}/{who.attempt}/{who.call_key}", billing_account_id=account,
        response_cost_usd=cost, charged_usd=charged_usd, charged_credits=charged_credits,
        cost_source=SETTLED_COST_SOURCE if settlement else COST_SOURCE,
        charge_reason=house or reason, occurred_at=occurred_at, stream=bool(callback.stream),
        model=clean(callback.model_group) or model, provider_model=model,
        provider=clean(callback.custom_llm_provider), call_type=clean(callback.call_type),
        tokens_in=_count(callback.prompt_tokens), tokens_out=_count(callback.completion_tokens),
        tokens_cached_in=cached, tokens_reasoning=reasoning, latency_ms=latency_ms, ttft_ms=ttft_ms,
        graph_id=clean(spend.get("graph_id")), sub_agent_id=clean(spend.get("sub_agent_id")),
        parent_sub_agent_id=clean(spend.get("parent_sub_agent_id")),
        tool_call_id=clean(spend.get("tool_call_id")),
        tags=[kept for tag in tags[:_MAX_TAGS] if (kept := clean(tag))],
        # Last, when all texts have been cleaned.
        marks=_marks(
            callback, terms, house or reason, ("unattributed_account", named is None),
            ("text_replaced", texts.replaced), ("tags_cut", len(tags) > _MAX_TAGS),
        ),
    )  # fmt: skip
    saved = callback.saved_cache_cost if callback.cache_hit else None
    return Charge(receipt, _content_hash(receipt), provider_call_id, saved, settlement)


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
        source_system=terms.origin.source_system,
        call_key=terms.identity.call_key,
        litellm_call_id=texts.clean(callback.litellm_call_id),
        response_id=texts.clean(callback.id) or REPLACEMENT,
        run_id=terms.identity.run_id,
        model=texts.clean(callback.model_group) or texts.clean(callback.model),
        provider=texts.clean(callback.custom_llm_provider),
        tokens_in=_count(callback.prompt_tokens),
        tokens_out=_count(callback.completion_tokens),
        suggested_cost_usd=suggested or None,
        occurred_at=_times(callback, terms)[0],
    )
