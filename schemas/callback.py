"""The callback: one element of the list that LiteLLM's `generic_api` logger posts.

The contract is strict only in `status`; one of `id` and `litellm_call_id` has to be there, and a
`response_cost` that is no money is a matter for a person. Everything else is optional, may be null,
and is dropped where its type is not the expected one; unknown fields are welcome. Source of the
shapes: LiteLLM 1.81.12 to 1.110.2, `StandardLoggingPayload`.
"""

from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic_core import PydanticCustomError

from schemas.attribution import text_of

MAX_COST_USD: Final = Decimal(10) ** 9
"""Nothing a language model answers costs a billion dollars: beyond it the figure is a fault."""
MIN_COST_EXPONENT: Final = -60
"""Digits after the point that are still money; the noise of a float price ends near 1e-25."""


def _exact_cost(value: object) -> Decimal | None:
    """Accept null or a JSON number read from its text; refuse text, booleans and floats.

    Refused is also what no call can cost: below zero, infinite, over `MAX_COST_USD`.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise PydanticCustomError("no_money", "a cost must be a JSON number or null")
    cost = Decimal(value)
    if not cost.is_finite() or cost < 0 or (cost and not _is_money(cost)):
        raise PydanticCustomError("no_money", "a cost must be an amount of money")
    return cost or Decimal(0)


def _is_money(cost: Decimal) -> bool:
    return cost <= MAX_COST_USD and int(cost.as_tuple().exponent) >= MIN_COST_EXPONENT


def _digits(value: object) -> object:
    """Take a number for its digits, where it names something."""
    return value if isinstance(value, str) else text_of(value) or value


Cost = Annotated[Decimal, BeforeValidator(_exact_cost)]
Name = Annotated[str, BeforeValidator(_digits, json_schema_input_type=str | int | float)]
"""A text that names a call or who made it; clients and proxies send some of them as numbers."""


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

    end_user_id: Name | None = Field(default=None, alias="x-litellm-end-user-id")


class Metadata(_Part):
    """What the proxy knows about the caller. `user_api_key_*` cannot be forged by clients."""

    user_api_key_hash: Name | None = None
    user_api_key_alias: Name | None = None
    user_api_key_team_id: Name | None = None
    user_api_key_org_id: Name | None = None
    user_api_key_project_id: Name | None = None
    user_api_key_user_id: Name | None = None
    user_api_key_end_user_id: Name | None = None
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

    id: Name | None = None
    litellm_call_id: Name | None = None
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
    total_tokens: int | None = None
    request_tags: list[str] | None = None
    end_user: Name | None = None
    model_group: str | None = None
    hidden_params: HiddenParams | None = None
    error_str: str | None = None


REQUIRED_FIELDS: Final = frozenset({"status"})
