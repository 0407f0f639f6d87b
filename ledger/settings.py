"""How a process reaches the ledger, as settings; whoever does inherits them."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from ledger.address import fault


class LedgerConnection(BaseSettings):
    """Where the ledger is, and as whom it is written."""

    database_url: SecretStr = Field(
        alias="DATABASE_URL",
        description="PostgreSQL, a libpq URL. May hold a password: keep it in a secret.",
    )
    consumer_database_role: str = Field(
        default="billing_consumer",
        description="Database role to use after connecting. The default may add receipts, never "
        "change or delete them. Empty: the user of the URL.",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (wrong := fault(text)):
            raise ValueError(wrong)
        return value
