"""The consumer's settings, read once from the environment."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from consumer.address import fault
from schemas.environment import KafkaConnection, read

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


class Settings(KafkaConnection):
    """Everything that can be set. Names are environment variables."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    kafka_bootstrap_servers: str = Field(
        default="",
        alias="KAFKA_BOOTSTRAP_SERVERS",
        description="Kafka brokers to begin with, `host:port`, comma-separated. `migrate`, "
        "`report` and `deferred list` do without.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        description="PostgreSQL, a libpq URL. May hold a password: keep it in a secret. `topics` "
        "does without.",
    )
    consumer_database_role: str = Field(
        default="billing_consumer",
        description="Role to act as after connecting: may add receipts, never change or delete "
        "them. Empty: act as the user of the URL.",
    )
    consumer_group: str = Field(
        default="billing-consumer", min_length=1, description="Kafka consumer group."
    )
    consumer_metrics_host: str = Field(
        default="127.0.0.1", description="Address of the probes and metrics."
    )
    consumer_metrics_port: int = Field(
        default=9091, ge=0, le=65_535, description="Port of the probes and metrics; 0 takes any."
    )
    consumer_batch_records: int = Field(
        default=3_000, ge=1, le=50_000, description="Most records in one transaction."
    )
    consumer_batch_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1,
        description="A batch that holds so many bytes of values takes no more records.",
    )
    consumer_fetch_bytes: int = Field(
        default=64 * 1024,
        ge=1_000,
        le=8 * 1024 * 1024,
        description="Most bytes in one answer of a broker, compressed. Content that compresses "
        "takes hundreds of times as much memory; raise it where brokers are far away.",
    )
    consumer_batch_wait_ms: int = Field(
        default=50, ge=1, le=5_000, description="Longest wait for a batch to fill, milliseconds."
    )
    consumer_session_timeout_ms: int = Field(
        default=15_000,
        ge=1_000,
        description="How long the group waits for a silent member, milliseconds.",
    )
    consumer_transaction_timeout_ms: int = Field(
        default=15_000,
        ge=1_000,
        description="How long the broker keeps a transaction of a dead member open, milliseconds.",
    )
    consumer_retry_max_ms: int = Field(
        default=10_000,
        ge=10,
        description="Longest pause between two tries while a dependency is away, milliseconds.",
    )
    consumer_dead_letter_run: int = Field(
        default=100,
        ge=1,
        description="So many records in a row that would be parked stop the consumer, unless it "
        "reads and stores its sample.",
    )
    consumer_dead_letter_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="A greater share of parked records in the last CONSUMER_DEAD_LETTER_WINDOW "
        "does the same.",
    )
    consumer_dead_letter_window: int = Field(
        default=1_000, ge=10, description="Records over which the share is taken."
    )
    consumer_stalled_after_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Liveness fails when the loop has not turned for so long, seconds.",
    )
    billing_topic_prefix: str = Field(
        default="", pattern=r"^[a-zA-Z0-9._-]*$", description="Goes before every topic's name."
    )
    billing_topic_replication_factor: int = Field(
        default=-1,
        ge=-1,
        description="Replicas of a topic that `topics --apply` creates; -1 takes the broker's "
        "default. Three is right for production.",
    )
    billing_markup: Decimal = Field(
        default=Decimal(1),
        ge=0,
        le=100,
        max_digits=12,
        description="Factor from LiteLLM's cost to the charge; an exact decimal.",
    )
    billing_free_models: Names = Field(
        default=(),
        description="Model groups that cost nothing: comma-separated glob patterns. A zero from "
        "any other model is deferred.",
    )
    billing_account_from: Annotated[tuple[AccountField, ...], NoDecode] = Field(
        default=(
            "end_user",
            "x-litellm-end-user-id",
            "user_api_key_team_id",
            "user_api_key_user_id",
        ),
        min_length=1,
        description="Where the account comes from, the first that is there. The client can forge "
        "`end_user` and the header unless it is trusted; it cannot forge `user_api_key_*`.",
    )
    billing_internal_account: str = Field(
        default="internal", min_length=1, description="The house account: probes and experiments."
    )
    billing_unattributed_account: str = Field(
        default="unattributed", min_length=1, description="Account of calls that name none."
    )
    billing_not_billable_call_types: Names = Field(
        default=(),
        description="Call types that are no inference, beside those that docs/call-types.md names: "
        "with cost 0 they are skipped, whatever their tokens.",
    )
    consumer_log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severity that is logged."
    )

    @field_validator(
        "billing_free_models",
        "billing_account_from",
        "billing_not_billable_call_types",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (wrong := fault(text)):
            raise ValueError(wrong)
        return value


def load() -> Settings:
    """Read the settings. Raises `schemas.environment.ConfigurationError`; shows no secret."""
    return read(Settings, "CONSUMER_", "CONSUMER_METRICS_URL")
