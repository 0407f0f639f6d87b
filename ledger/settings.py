"""How a process reaches the ledger, as settings; whoever does inherits them."""

from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from ledger.address import fault


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

    billing_unknown_account: Literal["open", "refuse"] = Field(
        default="open",
        description="What happens to calls of an account that nobody has opened. `open`: it is "
        "opened post-paid, without a limit. `refuse`: the spend guard refuses them; what was "
        "called all the same is charged to a prepaid account, which is below zero then.",
    )
