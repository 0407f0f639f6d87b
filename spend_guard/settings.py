"""The spend guard's settings, read from the environment in this one place."""

from decimal import Decimal
from typing import Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from charging.estimate_settings import EstimateRules
from charging.money import charge
from ledger.settings import CreditRules, LedgerAddress
from runtime.environment import STRICT, read

MIN_TOKEN_CHARACTERS: Final = 32
_MOST_TOKENS: Final = 2


class Settings(LedgerAddress, CreditRules, EstimateRules):
    """Settings of `python -m spend_guard run`, by environment variable."""

    model_config = STRICT

    spend_guard_tokens: SecretStr = Field(
        min_length=1,
        description="Bearer token of the plugin, which places and releases holds; at least 32 "
        "characters. Two, comma-separated, while tokens are rotated.",
    )
    spend_guard_admin_tokens: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer token of those who post grants and refunds; another one than the "
        "plugin's. Two for rotation. Empty: nobody posts any over HTTP.",
    )
    spend_guard_host: str = Field(default="127.0.0.1", description="Address to be asked on.")
    spend_guard_port: int = Field(
        default=8081, ge=0, le=65_535, description="Port to be asked on; 0 chooses a free one."
    )
    spend_guard_max_connections: int = Field(
        default=1_024,
        ge=1,
        description="Most open connections; fewer if the process has fewer files. Beyond it the "
        "oldest one of which nothing is in hand is closed to take a new one, those without a valid "
        "token first. Each process of LiteLLM keeps up to 100, and up to 500 for a moment.",
    )
    spend_guard_request_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Seconds in which a request must have come whole, the first one from the "
        "beginning of its connection; then the connection is closed.",
    )
    spend_guard_metrics_host: str = Field(
        default="127.0.0.1", description="Address of the probes and metrics."
    )
    spend_guard_metrics_port: int = Field(
        default=9096,
        ge=0,
        le=65_535,
        description="Port of the probes and metrics; 0 chooses a free one.",
    )
    spend_guard_database_role: str = Field(
        default="billing_guard",
        description="Database role to use after connecting. The default may change accounts and "
        "holds and add entries. Empty: the user of the URL.",
    )
    spend_guard_hold_s: int = Field(
        default=600,
        ge=1,
        description="How long a hold lives where the ask names no time, seconds; longer than the "
        "longest call and the way of its callback.",
    )
    spend_guard_longest_hold_s: int = Field(
        default=3_600,
        ge=1,
        le=86_400,
        description="Longest life of a hold, seconds; an ask for more gets so much.",
    )
    spend_guard_plenty_usd: Decimal = Field(
        default=Decimal(100),
        ge=0,
        le=1_000_000,
        max_digits=12,
        description="An answer says `plenty` where a post-paid account has at least so much "
        "available, US dollars: the plugin may then let calls pass for a moment without asking. "
        "Accounts without a limit always have plenty, prepaid ones never.",
    )
    spend_guard_connections: int = Field(
        default=2,
        ge=1,
        le=16,
        description="Connections to PostgreSQL that place holds; four more read, release, "
        "sweep and place those of accounts that another transaction has, and one now and then "
        "learns rates. Asks that come meanwhile share the next statement.",
    )
    spend_guard_batch_asks: int = Field(
        default=500, ge=1, le=10_000, description="Most asks that one statement answers."
    )
    spend_guard_queue_asks: int = Field(
        default=5_000, ge=1, description="Most asks that wait for a statement; beyond it 503."
    )
    spend_guard_wait_ms: int = Field(
        default=1_000,
        ge=10,
        description="How long an ask may wait for its statement to begin, milliseconds; then 503, "
        "and nothing is held for somebody who has gone. Less where the ask says when whoever asks "
        "stops to wait, as the plugin's do.",
    )
    spend_guard_sweep_s: float = Field(
        default=5.0, gt=0, description="Pause between two looks for expired holds, seconds."
    )
    spend_guard_rates_s: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="Pause between two times that the rates of models are learned from receipts, "
        "seconds. Asks never wait for it; after a failure the former rates stay.",
    )
    spend_guard_keep_days: int = Field(
        default=30,
        ge=1,
        description="Days for which holds that have ended are kept; an ask that is repeated after "
        "that is a new one.",
    )
    spend_guard_stalled_after_s: int = Field(
        default=120,
        ge=1,
        description="Seconds after which /livez fails if no look for expired holds has ended.",
    )
    spend_guard_shutdown_timeout_s: int = Field(
        default=10, ge=1, description="Seconds that requests in hand get after SIGTERM."
    )
    spend_guard_log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        asking, posting = self.tokens, self.admin_tokens
        _check_tokens("SPEND_GUARD_TOKENS", asking)
        _check_tokens("SPEND_GUARD_ADMIN_TOKENS", posting)
        if set(asking) & set(posting):
            raise ValueError("SPEND_GUARD_TOKENS and SPEND_GUARD_ADMIN_TOKENS share a token")
        if self.spend_guard_hold_s > self.spend_guard_longest_hold_s:
            raise ValueError("SPEND_GUARD_HOLD_S is over SPEND_GUARD_LONGEST_HOLD_S")
        return self

    @property
    def tokens(self) -> list[str]:
        """The tokens that place and release holds."""
        return _tokens_in(self.spend_guard_tokens)

    @property
    def admin_tokens(self) -> list[str]:
        """The tokens that post entries."""
        return _tokens_in(self.spend_guard_admin_tokens)

    @property
    def plenty(self) -> int:
        """Credits that are plenty."""
        return charge(self.spend_guard_plenty_usd, Decimal(1))[1]


def load() -> Settings:
    """Read the settings. Raises `runtime.environment.ConfigurationError`; shows no secret."""
    return read(Settings, "SPEND_GUARD_", "SPEND_GUARD_URL", "SPEND_GUARD_METRICS_URL")


def _tokens_in(value: SecretStr) -> list[str]:
    return [part.strip() for part in value.get_secret_value().split(",") if part.strip()]


def _check_tokens(variable: str, tokens: list[str]) -> None:
    if variable == "SPEND_GUARD_TOKENS" and not tokens:
        raise ValueError(f"{variable} holds no token")
    if len(tokens) > _MOST_TOKENS:
        raise ValueError(f"{variable} has {len(tokens)} tokens; two are enough for a rotation")
    for token in tokens:
        if len(token) < MIN_TOKEN_CHARACTERS:
            raise ValueError(
                f"a token of {variable} has {len(token)} characters, at least "
                f"{MIN_TOKEN_CHARACTERS} are needed; make one with `openssl rand -hex 32`"
            )
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError(f"a token of {variable} holds characters that a header cannot carry")
