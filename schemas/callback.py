"""The callback: one element of the list that LiteLLM's `generic_api` logger posts.

The contract is strict only in what billing needs (`id`, `status`, `response_cost`). Everything else
is optional, may be null, and is dropped where its type is not the expected one; unknown fields are
welcome. Source of the shapes: LiteLLM 1.81.12 to 1.109.1, `StandardLoggingPayload`.
"""

from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints
from pydantic_core import PydanticCustomError

MAX_COST_USD: Final = Decimal(10) ** 9
"""Nothing a language model answers costs a billion dollars: beyond it the figure is a fault."""
MIN_COST_EXPONENT: Final = -60
"""Digits after the point that are still money; the noise of a float price ends near 1e-25."""


def _exact_cost(value: object) -> Decimal | None:
    """Accept null or a JSON number read from its text; refuse text, booleans and floats."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise PydanticCustomError("contract_broken", "response_cost must be a JSON number or null")
    cost = Decimal(value)
    if not cost.is_finite() or (cost and cost.adjusted() > 308):  # noqa: PLR2004 - a float overflows beyond 1e308
        raise PydanticCustomError("non_finite_cost", "response_cost must be finite")
    if cost < 0:
        raise PydanticCustomError("negative_cost", "response_cost must not be negative")
    exponent = cost.as_tuple().exponent
    if cost and (cost > MAX_COST_USD or int(exponent) < MIN_COST_EXPONENT):
        raise PydanticCustomError("cost_out_of_range", "response_cost is outside what is money")
    return cost or Decimal(0)


Cost = Annotated[Decimal, BeforeValidator(_exact_cost)]
UsableText = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PromptTokensDetails(_Part):
    """Breakdown of the prompt tokens, as OpenAI names it."""

    cached_tokens: int | None = None


class CompletionTokensDetails(_Part):
    """Breakdown of the completion tokens, as OpenAI names it."""

    reasoning_tokens: int | None = None


class UsageObject(_Part):
    """The provider's own usage statement."""

    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None
    cache_read_input_tokens: int | None = None


class RequesterHeaders(_Part):
    """The client's own `x-` headers, of which billing reads one."""

    end_user_id: str | None = Field(default=None, alias="x-litellm-end-user-id")


class Metadata(_Part):
    """What the proxy knows about the caller. `user_api_key_*` cannot be forged by clients."""

    user_api_key_hash: str | None = None
    user_api_key_alias: str | None = None
    user_api_key_team_id: str | None = None
    user_api_key_org_id: str | None = None
    user_api_key_project_id: str | None = None
    user_api_key_user_id: str | None = None
    user_api_key_end_user_id: str | None = None
    spend_logs_metadata: Any = None
    usage_object: UsageObject | None = None
    requester_custom_headers: RequesterHeaders | None = None
    is_silent_experiment: StrictBool | None = None


class ProviderHeaders(_Part):
    """Headers of the provider's answer, of which billing keeps the request id."""

    request_id: str | None = Field(default=None, alias="llm_provider-x-request-id")


class HiddenParams(_Part):
    """LiteLLM's own notes; its `response_cost` is never read (COST_ORACLE_IS_LITELLM)."""

    additional_headers: ProviderHeaders | None = None


class CostBreakdown(_Part):
    """Never billed from: wrong for cache hits on LiteLLM 1.106. A suggestion for a person only."""

    total_cost: Cost | None = None


class Callback(_Part):
    """One LLM call as LiteLLM reports it. Times are epoch seconds, costs are US dollars.

    The fields are in LiteLLM's order, in which they are found fastest.
    """

    id: UsableText
    litellm_call_id: str | None = None
    call_type: str | None = None
    cache_hit: StrictBool | None = None
    stream: StrictBool | None = None
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
    request_tags: list[str] | None = None
    end_user: str | None = None
    model_group: str | None = None
    hidden_params: HiddenParams | None = None
    error_str: str | None = None


REQUIRED_FIELDS: Final = frozenset({"id", "status", "response_cost"})
