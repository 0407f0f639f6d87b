"""What the embedded stack takes from its caller's environment.

Everything else in that environment (`BILLING_*`, `GATEWAY_*`, `CONSUMER_*`, `SPEND_GUARD_*`,
`KAFKA_*`) reaches the rooms unread.
"""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
CONSUMER_GROUP = "billing-consumer"
"""The consumer's own default, which this room may not import."""


class StackSettings(BaseSettings):
    """Which parts of the stack are given, and which ports are asked for."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    kafka_bootstrap_servers: str | None = Field(
        default=None,
        description="Kafka to use instead of the embedded broker (host:port, comma-separated).",
    )
    database_url: str | None = Field(
        default=None,
        description="PostgreSQL to use instead of the embedded one (libpq URL).",
    )
    billing_ingest_token: str | None = Field(
        default=None,
        description="Ingest token of the source `litellm`; a random one for each stack when unset.",
    )
    gateway_host: str = Field(default=LOOPBACK, description="Address the gateway listens on.")
    gateway_port: int | None = Field(
        default=None, description="Port of the gateway; a free one when unset."
    )
    gateway_metrics_host: str = Field(
        default=LOOPBACK, description="Address of the gateway's probes and metrics."
    )
    gateway_metrics_port: int | None = Field(
        default=None, description="Port of the gateway's probes and metrics; a free one when unset."
    )
    gateway_spool_dir: Path | None = Field(
        default=None,
        description="Directory of the gateway's spool; `spool` in the run directory when unset.",
    )
    consumer_metrics_host: str = Field(
        default=LOOPBACK, description="Address of the consumer's probes and metrics."
    )
    consumer_metrics_port: int | None = Field(
        default=None,
        description="Port of the consumer's probes and metrics; a free one when unset.",
    )
    spend_guard_tokens: str | None = Field(
        default=None,
        description="Tokens of the spend guard's plugin; a random one for each stack when unset.",
    )
    spend_guard_admin_tokens: str | None = Field(
        default=None,
        description="Tokens of those who post grants to the spend guard; a random one when unset.",
    )
    spend_guard_host: str = Field(
        default=LOOPBACK, description="Address the spend guard listens on."
    )
    spend_guard_port: int | None = Field(
        default=None, description="Port of the spend guard; a free one when unset."
    )
    spend_guard_metrics_host: str = Field(
        default=LOOPBACK, description="Address of the spend guard's probes and metrics."
    )
    spend_guard_metrics_port: int | None = Field(
        default=None,
        description="Port of the spend guard's probes and metrics; a free one when unset.",
    )
    litellm_port: int | None = Field(
        default=None, description="Port of the LiteLLM proxy; a free one when unset."
    )
    upstream_port: int | None = Field(
        default=None, description="Port of the loopback LLM provider; a free one when unset."
    )
    uv: Path | None = Field(
        default=None,
        description="The uv that installs the LiteLLM proxy; found on PATH or in .uv when unset.",
    )
