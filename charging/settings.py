"""The rules that an operator sets, as settings; whoever decides inherits them."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from charging.account import Accounts
from charging.decision import Policy
from schemas.text import identifier

AccountField = Literal[
    "end_user",
    "x-litellm-end-user-id",
    "user_api_key_alias",
    "user_api_key_end_user_id",
    "user_api_key_hash",
    "user_api_key_org_id",
    "user_api_key_project_id",
    "user_api_key_team_id",
    "user_api_key_user_id",
]
"""Where an account may come from. `end_user` and the header can be forged by the proxy's clients
unless the caller is trusted; the `user_api_key_*` fields are set by the proxy and cannot."""

Names = Annotated[tuple[str, ...], NoDecode]


def parts(value: object) -> object:
    """Return a text as what its commas separate; anything else as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class Markup(BaseSettings):
    """What is charged of LiteLLM's cost."""

    billing_markup: Decimal = Field(
        default=Decimal(1),
        ge=0,
        le=100,
        max_digits=12,
        description="Factor from LiteLLM's cost to the charge; an exact decimal.",
    )


class ChargingRules(Markup):
    """What costs how much, and whom."""

    billing_free_models: Names = Field(
        default=(),
        description="Model groups that cost nothing: comma-separated glob patterns. A call of any "
        "other model with cost 0 is deferred, unless LiteLLM answered from its cache or the call "
        "makes no model work.",
    )
    billing_account_from: Annotated[tuple[AccountField, ...], NoDecode] = Field(
        default=(
            "end_user",
            "x-litellm-end-user-id",
            "user_api_key_team_id",
            "user_api_key_user_id",
        ),
        min_length=1,
        description="Fields that may name the account, in order; the first one that the callback "
        "has counts. An untrusted client can forge `end_user` and the header; no client can forge "
        "`user_api_key_*`.",
    )
    billing_internal_account: str = Field(
        default="internal",
        min_length=1,
        description="Account that pays for calls that no customer asked for: LiteLLM's health "
        "probes and silent experiments.",
    )
    billing_unattributed_account: str = Field(
        default="unattributed",
        min_length=1,
        description="Account that pays for calls that name no account.",
    )
    billing_not_billable_call_types: Names = Field(
        default=(),
        description="More call types that make no model work, in addition to those in "
        "docs/call-types.md. Calls of these types with cost 0 are skipped, whatever their tokens.",
    )

    @field_validator(
        "billing_free_models",
        "billing_account_from",
        "billing_not_billable_call_types",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return parts(value)

    def policy(self, usage_units_topic: str) -> Policy:
        """Return the rules as the decision wants them."""
        return Policy(
            markup=self.billing_markup,
            free_models=self.billing_free_models,
            not_billable_call_types=frozenset(self.billing_not_billable_call_types),
            accounts=Accounts(
                fields=self.billing_account_from,
                internal=identifier(self.billing_internal_account),
                unattributed=identifier(self.billing_unattributed_account),
            ),
            usage_units_topic=usage_units_topic,
        )
