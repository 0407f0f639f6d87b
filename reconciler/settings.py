"""The reconciler's settings, read once from the environment."""

from datetime import timedelta

from pydantic import Field, SecretStr, field_validator

from charging.settings import ChargingRules
from reconciler.proxy import Patience
from runtime.environment import STRICT, read


class Settings(ChargingRules):
    """Settings of the reconciler, by environment variable.

    The rules of charging decide what a row would have become; they have to be the consumer's.
    """

    model_config = STRICT

    litellm_url: str = Field(
        alias="LITELLM_URL",
        description="Address of the LiteLLM proxy whose spend log is read, `https://host`, with "
        "the path that it is mounted under, if any.",
    )
    litellm_api_key: SecretStr = Field(
        alias="LITELLM_API_KEY",
        min_length=1,
        description="The master key, or a key of an administrator: LiteLLM shows any other key its "
        "own rows only, and says nothing of the rest.",
    )
    reconciler_page_rows: int = Field(
        default=1_000,
        ge=1,
        le=1_000,
        description="Rows of the spend log asked for at a time. Proxies that allow fewer are asked "
        "for as many as they allow.",
    )
    reconciler_answer_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1_000,
        description="Longest answer of the proxy that is read, bytes. Without `/spend/logs/v2` an "
        "answer holds up to 10,000 rows, of about 12 kB each.",
    )
    reconciler_timeout_ms: int = Field(
        default=60_000,
        ge=100,
        description="Longest silence of the proxy within an answer, milliseconds.",
    )
    reconciler_tries: int = Field(
        default=8, ge=1, description="How often one question is asked until it is given up."
    )
    reconciler_retry_max_ms: int = Field(
        default=60_000,
        ge=10,
        description="Longest pause between two tries, milliseconds, but for a `Retry-After` of the "
        "proxy, which is waited for up to ten times as long.",
    )
    reconciler_grace_s: int = Field(
        default=900,
        ge=0,
        description="How long after its end a call may be without a receipt before it counts as "
        "missing, seconds: callbacks are retried, spooled and read with a lag.",
    )

    @field_validator("litellm_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        if not {"@", "?", "#"}.isdisjoint(value):
            # It is shown where the proxy cannot be reached.
            raise ValueError("must hold no password and no query; the key is LITELLM_API_KEY")
        return value.rstrip("/")

    @property
    def patience(self) -> Patience:
        """How long the proxy is waited for, and how much of it is read."""
        return Patience(
            silence=self.reconciler_timeout_ms / 1_000,
            tries=self.reconciler_tries,
            longest_pause=self.reconciler_retry_max_ms / 1_000,
            answer_bytes=self.reconciler_answer_bytes,
        )

    @property
    def grace(self) -> timedelta:
        """How long after its end a call may be unknown to the books."""
        return timedelta(seconds=self.reconciler_grace_s)


def load() -> Settings:
    """Read the settings. Raises `runtime.environment.ConfigurationError`; shows no secret."""
    return read(Settings, "RECONCILER_")
