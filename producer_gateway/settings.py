"""The gateway's settings, read from the environment in this one place."""

import re
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from runtime.environment import STRICT, read
from runtime.kafka import KafkaConnection, TopicNames

SOURCE: Final = "litellm"
MIN_TOKEN_CHARACTERS: Final = 32
_MAX_TOKENS_PER_SOURCE: Final = 2
_CLIENT_VARIABLES: Final = ("GATEWAY_URL", "GATEWAY_METRICS_URL")
"""Where clients look for a running gateway; `.run/env` holds them, so they may be set here too."""

Port = Annotated[int, Field(ge=0, le=65_535)]
_SOURCE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Content(StrEnum):
    """What happens to prompts and answers."""

    KEEP = "keep"
    DROP = "drop"


class Settings(TopicNames, KafkaConnection):
    """Settings of `python -m producer_gateway run`, by environment variable."""

    model_config = STRICT

    ingest_token: SecretStr = Field(
        alias="BILLING_INGEST_TOKEN",
        description="Bearer token of the source `litellm`; at least 32 characters.",
    )
    ingest_token_previous: SecretStr | None = Field(
        default=None,
        alias="BILLING_INGEST_TOKEN_PREVIOUS",
        description="A second token of the source `litellm`, accepted while tokens are rotated.",
    )
    ingest_tokens: SecretStr | None = Field(
        default=None,
        alias="BILLING_INGEST_TOKENS",
        description="Tokens of further proxies, `eu=token,us=token`: their source is "
        "`litellm/<name>`. A name may occur twice for rotation.",
    )
    host: str = Field(
        default="127.0.0.1", alias="GATEWAY_HOST", description="Address to take callbacks on."
    )
    port: Port = Field(
        default=8080, alias="GATEWAY_PORT", description="Port to take callbacks on; 0 takes any."
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        alias="GATEWAY_METRICS_HOST",
        description="Address of /livez, /readyz and /metrics.",
    )
    metrics_port: Port = Field(
        default=9090,
        alias="GATEWAY_METRICS_PORT",
        description="Port of /livez, /readyz and /metrics; 0 takes any.",
    )
    content: Content = Field(
        default=Content.KEEP,
        alias="GATEWAY_CONTENT",
        description="`keep`: the topic holds what LiteLLM sent. `drop`: prompts, answers, "
        "requester headers, addresses and tracebacks are cut out before the topic.",
    )
    max_body_bytes: int = Field(
        default=128 * 1024 * 1024,
        alias="GATEWAY_MAX_BODY_BYTES",
        ge=1024,
        description="Largest body in bytes; a longer one is answered 413, which the sender takes "
        "as final. A catch-up POST carries LiteLLM's whole queue.",
    )
    max_inflight_bytes: int = Field(
        default=256 * 1024 * 1024,
        alias="GATEWAY_MAX_INFLIGHT_BYTES",
        ge=1024,
        description="Bytes of bodies that may be in hand at once; beyond it 503. Allow three "
        "times as much memory.",
    )
    body_timeout_s: float = Field(
        default=60.0,
        alias="GATEWAY_BODY_TIMEOUT_S",
        gt=0,
        description="Seconds a sender may take to deliver one body; then 408.",
    )
    min_body_bytes_per_s: int = Field(
        default=1024,
        alias="GATEWAY_MIN_BODY_BYTES_PER_S",
        ge=0,
        description="Bytes a second at which a body must come, over any ten seconds; else 408. "
        "0: any rate.",
    )
    source_share: float = Field(
        default=0.5,
        alias="GATEWAY_SOURCE_SHARE",
        gt=0,
        le=1,
        description="Share of GATEWAY_MAX_INFLIGHT_BYTES that one source may have in hand while "
        "another one wants in; at least one largest body. Beyond it 503.",
    )
    head_timeout_s: float = Field(
        default=10.0,
        alias="GATEWAY_HEAD_TIMEOUT_S",
        gt=0,
        description="Seconds in which a new connection must have sent a request's whole head "
        "(else 408), taken an answer, or sent the rest of a body that is refused.",
    )
    idle_timeout_s: float = Field(
        default=75.0,
        alias="GATEWAY_IDLE_TIMEOUT_S",
        gt=0,
        description="Seconds without a request after which a connection is closed. Longer than "
        "the sender's own pauses (LiteLLM flushes every 5 s): a POST that is sent while the "
        "connection is being closed is lost.",
    )
    max_connections: int = Field(
        default=1024,
        alias="GATEWAY_MAX_CONNECTIONS",
        ge=1,
        description="Connections that may be open on the callbacks port; fewer where the process "
        "may not have so many descriptors. Beyond it the oldest idle one ends for a new one, those "
        "without a valid token first.",
    )
    delivery_timeout_ms: int = Field(
        default=10_000,
        alias="GATEWAY_DELIVERY_TIMEOUT_MS",
        ge=100,
        le=600_000,
        description="Milliseconds Kafka may take to acknowledge a record before it goes to the "
        "spool (without one: 503); long enough to sit out the election of a partition leader.",
    )
    linger_ms: float = Field(
        default=5.0,
        alias="GATEWAY_LINGER_MS",
        ge=0,
        le=100,
        description="Milliseconds a record waits for others to share its batch. A sender up to "
        "LiteLLM 1.106 loses what it collects while it waits for the answer, so keep it small.",
    )
    spool_dir: Path | None = Field(
        default=None,
        alias="GATEWAY_SPOOL_DIR",
        description="Directory of the spool that takes records while Kafka is away, one for each "
        "gateway; it is made where it is missing. Must outlive the process (no tmpfs): what waits "
        "in it has been answered 202. Empty: no spool, the answer is 503.",
    )
    spool_max_bytes: int = Field(
        default=1024 * 1024 * 1024,
        alias="GATEWAY_SPOOL_MAX_BYTES",
        ge=1024,
        description="Bytes of records that the spool takes; beyond it 503. The file keeps the "
        "size it once had; allow twice as much on the disk, and 256 MiB.",
    )
    silence_limit_s: float = Field(
        default=3600.0,
        alias="GATEWAY_SILENCE_LIMIT_S",
        ge=0,
        description="Seconds without a callback after which the alert BillingSourceSilent names a "
        "source that used to send; 0: never.",
    )
    silence_limits_s: str = Field(
        default="",
        alias="GATEWAY_SILENCE_LIMITS",
        description="The same for single sources, `litellm/eu=86400,litellm/nightly=0`; 0 declares "
        "a quiet one.",
    )
    shutdown_timeout_s: float = Field(
        default=25.0,
        alias="GATEWAY_SHUTDOWN_TIMEOUT_S",
        gt=0,
        description="Seconds to stop in after SIGTERM; requests that still wait for Kafka at "
        "half time go to the spool. Keep it under the pod's termination grace period.",
    )
    log_level: str = Field(
        default="info",
        alias="GATEWAY_LOG_LEVEL",
        pattern="^(debug|info|warning|error)$",
        description="Lowest level that is logged: debug, info, warning or error.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_inflight_bytes < self.max_body_bytes:
            raise ValueError(
                "GATEWAY_MAX_INFLIGHT_BYTES must be at least GATEWAY_MAX_BODY_BYTES, "
                "or the largest body could never be taken"
            )
        self.tokens()
        self.silence_limits()
        return self

    @field_validator("ingest_tokens")
    @classmethod
    def _pairs(cls, value: SecretStr | None) -> SecretStr | None:
        for index, pair in enumerate(_pairs_in(value), 1):
            name, equals, _ = pair.partition("=")
            if not equals:
                raise ValueError("BILLING_INGEST_TOKENS must be name=token, comma-separated")
            if not _SOURCE_NAME.fullmatch(name):
                # Not shown: where somebody forgot the name, this is the token.
                raise ValueError(
                    f"the name of source number {index} must be lower-case letters, digits, "
                    "'.', '_' or '-'"
                )
        return value

    def tokens(self) -> dict[str, str]:
        """Return token -> source (`litellm` or `litellm/<name>`); raises ValueError when unsafe."""
        pairs = [(SOURCE, self.ingest_token.get_secret_value())]
        if self.ingest_token_previous:
            pairs.append((SOURCE, self.ingest_token_previous.get_secret_value()))
        for pair in _pairs_in(self.ingest_tokens):
            name, _, token = pair.partition("=")
            pairs.append((f"{SOURCE}/{name}", token))
        tokens = dict[str, str]()
        for source, token in pairs:
            _check_token(source, token)
            if tokens.setdefault(token, source) != source:
                raise ValueError(f"{tokens[token]} and {source} have the same token")
        for source, count in Counter(tokens.values()).items():
            if count > _MAX_TOKENS_PER_SOURCE:
                raise ValueError(f"{source} has {count} tokens; two are enough for a rotation")
        return tokens

    def silence_limits(self) -> dict[str, float]:
        """Return source -> seconds it may be silent; 0 for ever. Raises ValueError where unfit."""
        limits = dict.fromkeys(self.tokens().values(), self.silence_limit_s)
        for pair in filter(None, map(str.strip, self.silence_limits_s.split(","))):
            source, _, seconds = pair.partition("=")
            if source not in limits:
                raise ValueError(
                    f"GATEWAY_SILENCE_LIMITS names {source!r}; the sources are "
                    f"{', '.join(sorted(limits))}"
                )
            if not seconds.isdecimal():
                raise ValueError(f"GATEWAY_SILENCE_LIMITS gives {source} no number of seconds")
            limits[source] = float(seconds)
        return limits


def load() -> Settings:
    """Read the settings. Raises `runtime.environment.ConfigurationError`; shows no secret."""
    return read(Settings, "GATEWAY_", *_CLIENT_VARIABLES)


def _pairs_in(value: SecretStr | None) -> list[str]:
    text = value.get_secret_value() if value else ""
    return [pair.strip() for pair in text.split(",") if pair.strip()]


def _check_token(source: str, token: str) -> None:
    if len(token) < MIN_TOKEN_CHARACTERS:
        raise ValueError(
            f"a token of {source} has {len(token)} characters, at least {MIN_TOKEN_CHARACTERS} "
            "are needed; make one with `openssl rand -hex 32`"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"a token of {source} holds characters that a header cannot carry")
