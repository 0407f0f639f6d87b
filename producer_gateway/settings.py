"""The gateway's settings, read from the environment in this one place."""

import re
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from runtime.environment import STRICT, read
from runtime.kafka import KafkaConnection, TopicNames
from runtime.tracing import Tracing

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


class Settings(TopicNames, KafkaConnection, Tracing):
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
        default="127.0.0.1", alias="GATEWAY_HOST", description="Address to receive callbacks on."
    )
    port: Port = Field(
        default=8080,
        alias="GATEWAY_PORT",
        description="Port to receive callbacks on; 0 chooses a free one.",
    )
    metrics_host: str = Field(
        default="127.0.0.1",
        alias="GATEWAY_METRICS_HOST",
        description="Address of /livez, /readyz and /metrics.",
    )
    metrics_port: Port = Field(
        default=9090,
        alias="GATEWAY_METRICS_PORT",
        description="Port of /livez, /readyz and /metrics; 0 chooses a free one.",
    )
    content: Content = Field(
        default=Content.KEEP,
        alias="GATEWAY_CONTENT",
        description="`keep`: the topic holds what LiteLLM sent. `drop`: the gateway cuts out "
        "prompts, answers, requester headers, addresses and tracebacks before it stores anything.",
    )
    max_body_bytes: int = Field(
        default=128 * 1024 * 1024,
        alias="GATEWAY_MAX_BODY_BYTES",
        ge=1024,
        description="Largest body in bytes. The gateway answers a larger one with 413, and LiteLLM "
        "does not send it again. A catch-up POST carries LiteLLM's whole queue.",
    )
    max_inflight_bytes: int = Field(
        default=256 * 1024 * 1024,
        alias="GATEWAY_MAX_INFLIGHT_BYTES",
        ge=1024,
        description="Bytes of all request bodies that the gateway holds at once; beyond it 503. "
        "Allow three times as much memory.",
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
        description="Lowest rate at which a body may arrive over any ten seconds, bytes a second; "
        "below it 408. 0: any rate.",
    )
    source_share: float = Field(
        default=0.5,
        alias="GATEWAY_SOURCE_SHARE",
        gt=0,
        le=1,
        description="Share of GATEWAY_MAX_INFLIGHT_BYTES that one source may use while another "
        "source needs room; always enough for one largest body. Beyond it 503.",
    )
    head_timeout_s: float = Field(
        default=10.0,
        alias="GATEWAY_HEAD_TIMEOUT_S",
        gt=0,
        description="Seconds in which a sender must send a request's whole head (else 408), read "
        "an answer, or send the rest of a body that is refused.",
    )
    idle_timeout_s: float = Field(
        default=75.0,
        alias="GATEWAY_IDLE_TIMEOUT_S",
        gt=0,
        description="Seconds without a request after which the gateway closes a connection. Keep "
        "it longer than the sender's pauses (LiteLLM flushes every 5 s): a POST that is sent while "
        "the connection is being closed is lost.",
    )
    max_connections: int = Field(
        default=1024,
        alias="GATEWAY_MAX_CONNECTIONS",
        ge=1,
        description="Most open connections on the callbacks port; fewer if the process has fewer "
        "file descriptors. Beyond it the gateway closes the oldest idle connection to take a new "
        "one, those without a valid token first.",
    )
    delivery_timeout_ms: int = Field(
        default=10_000,
        alias="GATEWAY_DELIVERY_TIMEOUT_MS",
        ge=100,
        le=600_000,
        description="Milliseconds that Kafka may take to acknowledge a record; after that it goes "
        "to the spool, or without a spool the answer is 503. Keep it longer than the election of a "
        "partition leader takes.",
    )
    linger_ms: float = Field(
        default=5.0,
        alias="GATEWAY_LINGER_MS",
        ge=0,
        le=100,
        description="Milliseconds that a record waits for others to share its batch. Keep it "
        "small: LiteLLM up to 1.106 loses the events that it collects while it waits for the "
        "answer.",
    )
    spool_dir: Path | None = Field(
        default=None,
        alias="GATEWAY_SPOOL_DIR",
        description="Directory of the spool, which keeps records while Kafka is away; one for each "
        "gateway, created if it is missing. It must outlive the process (no tmpfs): its records "
        "have been answered 202. Empty: no spool, and the answer is 503 while Kafka is away.",
    )
    spool_max_bytes: int = Field(
        default=1024 * 1024 * 1024,
        alias="GATEWAY_SPOOL_MAX_BYTES",
        ge=1024,
        description="Bytes of records that the spool holds; beyond it 503. The file never shrinks: "
        "give the disk twice as much, and 256 MiB more.",
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
        description="The same limit for single sources, `litellm/eu=86400,litellm/nightly=0`; 0: "
        "that source never alarms.",
    )
    shutdown_timeout_s: float = Field(
        default=25.0,
        alias="GATEWAY_SHUTDOWN_TIMEOUT_S",
        gt=0,
        description="Seconds that a stop may take after SIGTERM. Requests that still wait for "
        "Kafka after half of it go to the spool. Keep it below the pod's termination grace period.",
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
