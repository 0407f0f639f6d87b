"""The rules that an operator sets, as settings; whoever decides inherits them."""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from charging.account import Accounts
from charging.decision import Policy
from charging.signature import SignatureRules
from schemas.signature import KEY_ID
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
_MIN_SECRET_CHARACTERS = 32


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

    billing_attribution_keys: SecretStr | None = Field(
        default=None,
        description="Keys by which callers sign whose a call is, `id=secret,id=secret`; secrets of "
        "at least 32 characters. All are valid at once, for rotation. Empty: no signature is "
        "looked at.",
    )
    billing_signed_accounts_only: bool = Field(
        default=False,
        description="`true`: an account that only the client names, and the account of a run that "
        "it names, pay if the call's signature covers them; otherwise the next field that the "
        "proxy has set, or BILLING_UNATTRIBUTED_ACCOUNT. Needs BILLING_ATTRIBUTION_KEYS.",
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

    @field_validator("billing_attribution_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        _secrets(value)
        return value

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.billing_signed_accounts_only and not _secrets(self.billing_attribution_keys):
            raise ValueError("BILLING_SIGNED_ACCOUNTS_ONLY needs BILLING_ATTRIBUTION_KEYS")
        return self

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
                signatures=SignatureRules(
                    _secrets(self.billing_attribution_keys), self.billing_signed_accounts_only
                ),
            ),
            usage_units_topic=usage_units_topic,
        )


def _secrets(keys: SecretStr | None) -> dict[str, bytes]:
    """Return the secrets by the ids of their keys. Raises ValueError, which shows none of them."""
    text = keys.get_secret_value() if keys else ""
    secrets = dict[str, bytes]()
    for number, pair in enumerate((one.strip() for one in text.split(",") if one.strip()), 1):
        key_id, _, secret = pair.partition("=")
        # An id is not shown: where somebody forgot it, this is the secret.
        if not KEY_ID.fullmatch(key_id) or not secret:
            raise ValueError(
                f"key number {number} must be id=secret; an id has at most 32 letters, digits, "
                "'.', '_' or '-'"
            )
        if len(secret) < _MIN_SECRET_CHARACTERS or not (secret.isascii() and secret.isprintable()):
            raise ValueError(
                f"the secret of key number {number} must have at least {_MIN_SECRET_CHARACTERS} "
                "characters of printable ASCII"
            )
        if key_id in secrets:
            raise ValueError(f"key number {number} has the id of another")
        secrets[key_id] = secret.encode()
    return secrets
