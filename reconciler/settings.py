"""The reconciler's settings, read once from the environment."""

import re
from datetime import timedelta
from typing import Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from charging.origin import DEFAULT_SOURCE
from charging.settings import ChargingRules
from ledger.settings import LedgerAddress
from reconciler.proxy import Patience
from runtime.address import HttpAddress
from runtime.environment import STRICT, read, variables

_NAME: Final = re.compile(r"([a-z0-9][a-z0-9._-]{0,62})?")


class Settings(ChargingRules, LedgerAddress):
    """Settings of the reconciler, by environment variable.

    The rules of charging decide what a row would have become; they have to be the consumer's.
    """

    model_config = STRICT

    litellm_url: HttpAddress = Field(
        alias="LITELLM_URL",
        min_length=1,
        description="Address of the LiteLLM proxy whose spend log is read, `https://host`, with "
        "the path that it is mounted under, if any.",
    )
    litellm_api_key: SecretStr = Field(
        alias="LITELLM_API_KEY",
        min_length=1,
        description="The master key, or a key of an administrator: LiteLLM shows any other key its "
        "own rows only, and says nothing of the rest.",
    )
    gateway_url: HttpAddress = Field(
        default="",
        alias="GATEWAY_URL",
        description="Address of a gateway, `http://host:8080`: lost calls are posted to it. "
        "`audit` does not need it.",
    )
    reconciler_source: str = Field(
        default="",
        description="Which of the gateway's sources this proxy is: the name in "
        "`BILLING_INGEST_TOKENS`, such as `eu`. Empty: the source `litellm`, whose token is "
        "`BILLING_INGEST_TOKEN`. A wrong one bills calls twice.",
    )
    ingest_token: SecretStr = Field(
        default=SecretStr(""),
        alias="BILLING_INGEST_TOKEN",
        description="The gateway's token of the source `litellm`, under which the proxy's own "
        "callbacks come. `audit` does not need it.",
    )
    ingest_tokens: SecretStr = Field(
        default=SecretStr(""),
        alias="BILLING_INGEST_TOKENS",
        description="The gateway's tokens of further proxies, `eu=token,us=token`; that of "
        "`RECONCILER_SOURCE` is used.",
    )
    reconciler_database_role: str = Field(
        default="billing_reconciler",
        description="Database role to use after connecting. The default may read receipts and "
        "deferrals, and write what the reconciler remembers. Empty: the user of the URL.",
    )
    reconciler_interval_s: int = Field(
        default=60, ge=1, description="Pause between two passes over the spend log, seconds."
    )
    reconciler_overlap_s: int = Field(
        default=7_200,
        ge=0,
        description="How far a pass goes back before the end of the last one, seconds: LiteLLM "
        "filters rows by when a call began, and writes them when it has ended. Longer than the "
        "longest call and RECONCILER_GRACE_S together.",
    )
    reconciler_look_back_s: int = Field(
        default=86_400,
        ge=0,
        description="How far back the first pass begins where nothing was compared yet, seconds.",
    )
    reconciler_window_s: int = Field(
        default=3_600,
        ge=1,
        description="Time of the spend log that is compared before the cursor moves, seconds. "
        "After a restart at most so much is compared again.",
    )
    reconciler_post_callbacks: int = Field(
        default=100, ge=1, le=1_000, description="Lost calls in one POST to the gateway."
    )
    reconciler_posts_at_once: int = Field(
        default=4, ge=1, le=64, description="Most POSTs to the gateway at one time."
    )
    reconciler_daily_audit: bool = Field(
        default=True,
        description="Whether `run` audits each day (UTC) that has ended, once, for the metrics of "
        "the last audit and their alert.",
    )
    reconciler_daily_prices: bool = Field(
        default=True,
        description="Whether with that audit the receipts of the day are computed again from the "
        "pinned price table, for the metrics of prices and their alert. Nothing is billed by it.",
    )
    reconciler_metrics_host: str = Field(
        default="127.0.0.1", description="Address of the probes and metrics."
    )
    reconciler_metrics_port: int = Field(
        default=9095,
        ge=0,
        le=65_535,
        description="Port of the probes and metrics; 0 chooses a free one.",
    )
    reconciler_stalled_after_s: int = Field(
        default=900,
        ge=1,
        description="Seconds after which /livez fails if the process has asked and done nothing.",
    )
    reconciler_log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not _NAME.fullmatch(self.reconciler_source):
            raise ValueError("RECONCILER_SOURCE is a name such as eu, or empty")
        if not (self.token.isascii() and self.token.isprintable()) or " " in self.token:
            raise ValueError("BILLING_INGEST_TOKEN holds characters that a header cannot carry")
        if self.reconciler_overlap_s <= self.reconciler_grace_s:
            raise ValueError("RECONCILER_OVERLAP_S must be longer than RECONCILER_GRACE_S")
        return self

    @property
    def source_system(self) -> str:
        """The source system of the proxy's calls in the ledger."""
        name = self.reconciler_source
        return f"{DEFAULT_SOURCE}/{name}" if name else DEFAULT_SOURCE

    @property
    def token(self) -> str:
        """The gateway's token of that source; "" where it has none."""
        if not self.reconciler_source:
            return self.ingest_token.get_secret_value()
        pairs = self.ingest_tokens.get_secret_value().split(",")
        tokens = dict(pair.strip().partition("=")[::2] for pair in pairs)
        return tokens.get(self.reconciler_source, "")

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


class Books(LedgerAddress):
    """Where the ledger is, for what asks no proxy."""

    model_config = STRICT


def load_books() -> Books:
    """Read where the ledger is. Raises `runtime.environment.ConfigurationError`."""
    return read(Books, "RECONCILER_", *variables(Settings))
