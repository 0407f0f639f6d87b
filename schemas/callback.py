"""The callback: one element of the list that LiteLLM's `generic_api` logger posts.

Its fields are declared here and nowhere else; `schemas.reader` reads bytes into them. The contract
is strict only in `status`; one of `id` and `litellm_call_id` has to be there, and a
`response_cost` that is no money is a matter for a person. Everything else is optional, may be null,
and is dropped where its type is not the expected one; unknown fields are welcome. Source of the
shapes: LiteLLM 1.81.12 to 1.110.2, `StandardLoggingPayload`.
"""

from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec

from schemas.headers import Reason

MAX_COST_USD: Final = Decimal(10) ** 9
"""Nothing a language model answers costs a billion dollars: beyond it the figure is a fault."""
MIN_COST_EXPONENT: Final = -60
"""Digits after the point that are still money; the noise of a float price ends near 1e-25."""


class ContractError(ValueError):
    """A callback that cannot be billed as it stands; `reason` is the code on the dead letter."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Cost(Decimal):
    """US dollars as they were sent, every digit kept: an amount that a call can cost.

    A type of its own, because a `Decimal` by itself would be read from a text as well.
    """

    __slots__ = ()


_NOTHING: Final = Cost(0)


def cost_of(value: object) -> Cost:
    """Return a JSON number, read from its text as an `int` or a `Decimal`, as a cost.

    Raises `ValueError` for everything else (text, booleans, floats), and for what no call can cost:
    below zero, infinite, over `MAX_COST_USD`, finer than `MIN_COST_EXPONENT`.
    """
    if type(value) is not Decimal and type(value) is not int:
        raise ValueError("a cost must be a JSON number or null")
    cost = Cost(value)
    if not cost:
        return _NOTHING
    if not cost.is_finite() or cost.is_signed() or cost > MAX_COST_USD or _is_too_fine(cost):
        raise ValueError("a cost must be an amount of money")
    return cost


def _is_too_fine(cost: Cost) -> bool:
    # An amount has no more digits than characters, and taking it apart takes far longer.
    if cost.adjusted() - len(str(cost)) >= MIN_COST_EXPONENT:
        return False
    return int(cost.as_tuple().exponent) < MIN_COST_EXPONENT


ALSO: Final = "also"
"""Names, in the JSON Schema of a type, further JSON types that are read as it."""
Name = Annotated[str, msgspec.Meta(extra_json_schema={ALSO: ["integer", "number"]})]
"""A text that names a call or who made it; clients and proxies send some of them as numbers."""


class _Part(msgspec.Struct, frozen=True, gc=False):
    """A part of a callback. What is read from JSON has no cycles for a garbage collector."""


class PromptTokensDetails(_Part, frozen=True):
    """Breakdown of the prompt tokens, as OpenAI names it."""

    cached_tokens: int | None = None


class CompletionTokensDetails(_Part, frozen=True):
    """Breakdown of the completion tokens, as OpenAI names it."""

    reasoning_tokens: int | None = None


class UsageObject(_Part, frozen=True):
    """The provider's own usage statement."""

    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None
    cache_read_input_tokens: int | None = None


class RequesterHeaders(
    _Part,
    frozen=True,
    rename={
        "end_user_id": "x-litellm-end-user-id",
        "spend_logs_metadata": "x-litellm-spend-logs-metadata",
    },
):
    """The client's own `x-` headers, of which billing reads one.

    The other tells what LiteLLM dropped: where it is no JSON, the metadata is null without a word.
    """

    end_user_id: Name | None = None
    spend_logs_metadata: Any = None


class RunMetadata(_Part, frozen=True):
    """What of the metadata names a run."""

    spend_logs_metadata: Any = None


class Metadata(RunMetadata, frozen=True):
    """What the proxy knows about the caller. `user_api_key_*` cannot be forged by clients."""

    user_api_key_hash: Name | None = None
    user_api_key_alias: Name | None = None
    user_api_key_team_id: Name | None = None
    user_api_key_team_alias: Name | None = None
    user_api_key_org_id: Name | None = None
    user_api_key_project_id: Name | None = None
    user_api_key_user_id: Name | None = None
    user_api_key_end_user_id: Name | None = None
    usage_object: UsageObject | None = None
    requester_custom_headers: RequesterHeaders | None = None
    is_silent_experiment: bool | None = None


class ProviderHeaders(_Part, frozen=True, rename={"request_id": "llm_provider-x-request-id"}):
    """Headers of the provider's answer, of which billing keeps the request id."""

    request_id: str | None = None


class HiddenParams(_Part, frozen=True):
    """LiteLLM's own notes; its `response_cost` is never read (COST_ORACLE_IS_LITELLM)."""

    additional_headers: ProviderHeaders | None = None


class CostBreakdown(_Part, frozen=True):
    """Never billed from: wrong for cache hits on LiteLLM 1.106. A suggestion for a person only."""

    total_cost: Cost | None = None


class NamedCall(_Part, frozen=True):
    """What of a callback says which call it is, and of which run: all that the gateway reads."""

    id: Name | None = None
    litellm_call_id: Name | None = None
    call_type: str | None = None
    metadata: RunMetadata | None = None
    end_user: Name | None = None


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What a call is known by.

    `call_key` is the idempotency key; `half_key` says that it is one of the two ids alone. `run_id`
    keys the record; it is the call key where the call names no run, and then `attributed` is false.
    `attempt` counts from 0.
    """

    call_key: str
    run_id: str
    attempt: int
    attributed: bool
    half_key: bool = False


RECONCILER: Final = "reconciler"
"""The `source` of a callback that was made of a row of LiteLLM's spend log, because its own was
lost. LiteLLM sends no such field, and no client of it can set one."""


class Callback(NamedCall, frozen=True, kw_only=True):
    """One LLM call as LiteLLM reports it. Times are epoch seconds, costs are US dollars."""

    cache_hit: bool | None = None
    stream: bool | None = None
    status: str
    custom_llm_provider: str | None = None
    saved_cache_cost: Cost | None = None
    startTime: float | None = None  # noqa: N815 - LiteLLM's name
    endTime: float | None = None  # noqa: N815 - LiteLLM's name
    completionStartTime: float | None = None  # noqa: N815 - LiteLLM's name
    model: str | None = None
    metadata: Metadata | None = None
    response_cost: Cost | None = None
    cost_breakdown: CostBreakdown | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    request_tags: list[str] | None = None
    model_group: str | None = None
    hidden_params: HiddenParams | None = None
    error_str: str | None = None
    source: str | None = None
