"""From a callback to the rows that charge or defer it. Pure."""

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from charging.account import (
    RUN_AS_END_USER,
    UNATTRIBUTED,
    Accounts,
    Payer,
    accounts_by_client,
    internal_reason,
    payer,
)
from charging.caller import caller_of
from charging.marks import marks
from charging.money import charge, trimmed
from charging.outcomes import Caller, Charge, Deferred, DeferredReason, Settlement
from charging.signature import ACCOUNT_UNSIGNED, NOT_BELIEVED, SIGNED, Verdict, verdict_of
from charging.spend import Spend, spend_of
from charging.terms import ChargeTerms
from charging.times import times_of
from schemas.attribution import text_of
from schemas.callback import RECONCILER, Callback, Cost, Metadata, UsageObject
from schemas.reader import Reading
from schemas.receipt import ChargeReason, Receipt, receipt_id
from schemas.text import REPLACEMENT, SURELY_WHOLE, bounded, storable

COST_SOURCE: Final = "litellm_callback"
SETTLED_COST_SOURCE: Final = "operator"
BREAKDOWN_COST_SOURCE: Final = "cost_breakdown"
SPEND_LOG_COST_SOURCE: Final = "litellm_spend_log"
DECIDED: Final = frozenset({SETTLED_COST_SOURCE, BREAKDOWN_COST_SOURCE})
"""Cost sources of what a person or a rule of the operator has set."""

_MAX_BIGINT: Final = 9_223_372_036_854_775_807
_NO_METADATA: Final = Metadata()
_UNSIGNED: Final = Verdict()
_ZERO: Final = Decimal(0)
_MAX_TAGS: Final = 100
"""A client sends the tags, and a receipt's event has to fit its topic."""


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


def _amount(cost: Cost | None) -> Decimal | None:
    # What writes amounts, to JSON or to the database, knows no type but this one.
    return None if cost is None else Decimal(cost)


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= _MAX_BIGINT else None


def content_hash(receipt: Receipt) -> str:
    """Hash what a conflict is about: cost, tokens, model, account. Equal amounts hash equally.

    A charge of a background response has `charging.background.result_hash` instead.
    """
    r, amount = receipt, trimmed(receipt.response_cost_usd)
    tokens = f"{r.tokens_in}\x1f{r.tokens_out}\x1f{r.tokens_cached_in}\x1f{r.tokens_reasoning}"
    content = f"{amount}\x1f{tokens}\x1f{r.model or ''}\x1f{r.billing_account_id}"
    return hashlib.sha256(content.encode()).hexdigest()


def _tokens(usage: UsageObject | None) -> tuple[int | None, int | None]:
    """Count tokens read from a cache and spent on reasoning, as OpenAI or Anthropic name them."""
    if usage is None:
        return None, None
    details, done = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = _count(details.cached_tokens) if details else None
    if cached is None:
        cached = _count(usage.cache_read_input_tokens)
    return cached, _count(done.reasoning_tokens) if done else None


def build_charge(
    callback: Callback,
    terms: ChargeTerms,
    accounts: Accounts,
    markup: Decimal,
    reason: ChargeReason,
) -> Charge:
    """Return the receipt of a call: every column of it, and of its details.

    A call that no customer asked for goes to the internal account, whatever `reason` says. Whether
    the receipt is written is the ledger's decision.
    """
    metadata = callback.metadata or _NO_METADATA
    source = terms.origin.source_system
    settlement = terms.origin.settlement
    reading = terms.reading
    who = reading.identity
    internal = internal_reason(metadata)
    spend = spend_of(metadata)
    said = spend.names.get
    texts = _Texts()
    clean = texts.clean
    verdict = _verdict(callback, metadata, spend, accounts)
    named = Payer(accounts.internal) if internal else payer(callback, metadata, accounts, verdict)
    account = clean(named.account) or accounts.unattributed
    team, team_alias, key_alias, key_hash, user, organization = caller_of(metadata, clean)
    call_id = _call_id(callback)
    provider_call_id = clean(_provider_call_id(callback))
    clean(said("run_id"))  # Its identity made it storable; only the remark is missing.
    model = clean(callback.model)
    tags = _tags(callback, clean)
    cost = _amount(callback.response_cost) or _ZERO
    ended, started, latency_ms, ttft_ms, odd_time = times_of(
        callback, terms.origin.received_ms, terms.reading.dropped
    )
    charged_usd, charged_credits = charge(cost, markup)
    cached, reasoning = _tokens(metadata.usage_object)
    receipt = Receipt(
        id=receipt_id(source, who.call_key),
        source_system=source,
        call_key=who.call_key,
        litellm_call_id=clean(call_id),
        response_id=_response_id(callback, clean),
        source_reference=f"{who.run_id}/{who.attempt}/{who.call_key}",
        run_id=who.run_id,
        attempt=who.attempt,
        billing_account_id=account,
        response_cost_usd=cost,
        charged_usd=charged_usd,
        charged_credits=charged_credits,
        cost_source=_cost_source(callback, settlement),
        charge_reason=internal or reason,
        occurred_at=ended,
        model=clean(callback.model_group) or model,
        provider_model=model,
        provider=clean(callback.custom_llm_provider),
        call_type=clean(callback.call_type),
        stream=bool(callback.stream),
        tokens_in=_count(callback.prompt_tokens),
        tokens_out=_count(callback.completion_tokens),
        tokens_cached_in=cached,
        tokens_reasoning=reasoning,
        latency_ms=latency_ms,
        ttft_ms=ttft_ms,
        graph_id=clean(said("graph_id")),
        sub_agent_id=clean(said("sub_agent_id")),
        parent_sub_agent_id=clean(said("parent_sub_agent_id")),
        tool_call_id=clean(said("tool_call_id")),
        tags=tags,
        team_id=team,
        team_alias=team_alias,
        key_alias=key_alias,
        organization_id=organization,
        # Last, when all texts have been cleaned.
        marks=marks(
            reading,
            internal or reason,
            (UNATTRIBUTED, named.account is None),
            (RUN_AS_END_USER, named.run_first),
            *_of_signature(named, verdict, reading, accounts, believed=internal is not None),
            ("text_replaced", texts.replaced),
            ("tags_cut", len(callback.request_tags or ()) > _MAX_TAGS),
            ("odd_time", odd_time),
            ("attribution_unreadable", spend.unreadable),
            ("attribution_misspelt", bool(spend.misspelt)),
        ),
    )
    saved = _amount(callback.saved_cache_cost) if callback.cache_hit else None
    return Charge(
        receipt,
        content_hash(receipt),
        provider_call_id,
        saved,
        settlement,
        key_hash=key_hash,
        user_id=user,
        started_at=started,
        # A silent experiment names the hold of the call beside which it was made.
        hold=None if internal else spend.hold,
    )


def _verdict(callback: Callback, metadata: Metadata, spend: Spend, accounts: Accounts) -> Verdict:
    if spend.signature is None:
        return _UNSIGNED
    named = accounts_by_client(callback, metadata).values()
    return verdict_of(spend, named, accounts.signatures)


def _of_signature(
    named: Payer, verdict: Verdict, reading: Reading, accounts: Accounts, *, believed: bool
) -> tuple[tuple[str, bool], ...]:
    """Return the marks of what a signature is worth, and of what was not believed without one.

    A call that no customer asked for is `believed`: no client says who pays for it.
    """
    required = accounts.signatures.required
    if verdict.mark is None and not required:
        return ()
    run_unsigned = reading.identity.attributed and verdict.mark != SIGNED
    doubted = required and not believed
    return (
        (verdict.mark or "", verdict.mark is not None),
        (ACCOUNT_UNSIGNED, named.unsigned),
        (NOT_BELIEVED, doubted and (named.passed_over or run_unsigned)),
    )


def _cost_source(callback: Callback, settlement: Settlement | None) -> str:
    if settlement:
        return BREAKDOWN_COST_SOURCE if settlement.from_breakdown else SETTLED_COST_SOURCE
    return SPEND_LOG_COST_SOURCE if callback.source == RECONCILER else COST_SOURCE


def _tags(callback: Callback, clean: Callable[[object], str | None]) -> list[str]:
    return [kept for tag in (callback.request_tags or ())[:_MAX_TAGS] if (kept := clean(tag))]


def _call_id(callback: Callback) -> str | None:
    return text_of(callback.litellm_call_id)


def _response_id(callback: Callback, clean: Callable[[object], str | None]) -> str:
    """Return the response's id; where there is none, the call's, as LiteLLM has it."""
    return clean(text_of(callback.id) or _call_id(callback)) or REPLACEMENT


def _provider_call_id(callback: Callback) -> str | None:
    hidden = callback.hidden_params
    headers = hidden.additional_headers if hidden else None
    return headers.request_id if headers else None


def build_deferred(
    callback: Callback, terms: ChargeTerms, accounts: Accounts, reason: DeferredReason
) -> Deferred:
    """Return the deferral; a positive `cost_breakdown.total_cost` becomes a suggestion."""
    texts = _Texts()
    metadata = callback.metadata or _NO_METADATA
    internal = internal_reason(metadata)
    spend = spend_of(metadata)
    said = spend.names.get
    verdict = _verdict(callback, metadata, spend, accounts)
    named = Payer(accounts.internal) if internal else payer(callback, metadata, accounts, verdict)
    ended, started, *_ = times_of(callback, terms.origin.received_ms, terms.reading.dropped)
    suggested = callback.cost_breakdown.total_cost if callback.cost_breakdown else None
    return Deferred(
        reason=reason,
        source_system=terms.origin.source_system,
        call_key=terms.reading.identity.call_key,
        litellm_call_id=texts.clean(_call_id(callback)),
        response_id=_response_id(callback, texts.clean),
        run_id=terms.reading.identity.run_id,
        model=texts.clean(callback.model_group) or texts.clean(callback.model),
        provider=texts.clean(callback.custom_llm_provider),
        tokens_in=_count(callback.prompt_tokens),
        tokens_out=_count(callback.completion_tokens),
        suggested_cost_usd=_amount(suggested) or None,
        occurred_at=ended,
        sent_cost=terms.reading.sent_cost,
        billing_account_id=texts.clean(named.account) or accounts.unattributed,
        caller=Caller(*caller_of(metadata, texts.clean)),
        started_at=started,
        sub_agent_id=texts.clean(said("sub_agent_id")),
        parent_sub_agent_id=texts.clean(said("parent_sub_agent_id")),
        tags=_tags(callback, texts.clean),
    )
