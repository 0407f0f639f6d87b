"""How a process reaches the ledger, as settings; whoever does inherits them."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from charging.money import credits_of
from ledger.address import fault
from ledger.debits import CreditTerms, Unknown

Thresholds = Annotated[
    tuple[Annotated[Decimal, Field(gt=0, le=1_000_000_000, max_digits=16)], ...], NoDecode
]


class LedgerAddress(BaseSettings):
    """Where the ledger is."""

    database_url: SecretStr = Field(
        alias="DATABASE_URL",
        description="PostgreSQL, a libpq URL. May hold a password: keep it in a secret.",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (wrong := fault(text)):
            raise ValueError(wrong)
        return value


class LedgerConnection(LedgerAddress):
    """Where the ledger is, and as whom it is written."""

    consumer_database_role: str = Field(
        default="billing_consumer",
        description="Database role to use after connecting. The default may add receipts, never "
        "change or delete them. Empty: the user of the URL.",
    )


class CreditRules(BaseSettings):
    """What becomes of an account that nobody has opened."""

    billing_unknown_account: Unknown = Field(
        default="open",
        description="What happens to calls of an account that nobody has opened. `open`: it is "
        "opened post-paid, without a limit. `refuse`: the spend guard refuses them; what was "
        "called all the same is charged to a prepaid account, which is below zero then.",
    )
    billing_credit_thresholds_usd: Thresholds = Field(
        default=(Decimal(10), Decimal(1)),
        max_length=20,
        description="Amounts, US dollars, comma-separated: other teams are told when less is left "
        "of an account with a limit, and in any case when nothing is. `none`: only that.",
    )

    @field_validator("billing_credit_thresholds_usd", mode="before")
    @classmethod
    def _split_thresholds(cls, value: object) -> object:
        if isinstance(value, str):
            parts = () if value.strip() == "none" else value.split(",")
            return tuple(part.strip() for part in parts)
        return value

    @field_validator("billing_credit_thresholds_usd")
    @classmethod
    def _thresholds_are_credits(cls, value: tuple[Decimal, ...]) -> tuple[Decimal, ...]:
        for one in value:
            credits_of(one)
        return value

    @property
    def thresholds(self) -> tuple[int, ...]:
        """The thresholds, whole credits."""
        return tuple(credits_of(one) for one in self.billing_credit_thresholds_usd)


class DebitRules(CreditRules):
    """How receipts take credits from accounts; whoever writes receipts inherits it."""

    billing_credits: bool = Field(
        default=True,
        description="Whether receipts take credits from their accounts. Off: receipts alone are "
        "written, and what they charge is never debited.",
    )
    billing_failed_hold_seconds: int = Field(
        default=120,
        ge=0,
        le=3_600,
        description="How long the hold of a call that failed, or costs nothing by rule, is kept at "
        "most, seconds: behind a failure, a fallback that succeeds takes the same one. Longer than "
        "such a fallback's answer takes.",
    )

    @property
    def credit_terms(self) -> CreditTerms | None:
        """These rules as the ledger wants them; None where no credits are moved."""
        if not self.billing_credits:
            return None
        return CreditTerms(
            self.billing_unknown_account, self.billing_failed_hold_seconds, self.thresholds
        )
