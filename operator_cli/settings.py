"""The settings of what people do by hand, read once from the environment."""

from datetime import timedelta

from pydantic import Field, SecretStr, field_validator

from charging.estimate_settings import EstimateRules
from charging.settings import ChargingRules, Names, parts
from charging.settlement import BreakdownRule
from ledger.settings import DebitRules, LedgerConnection
from runtime.address import HttpAddress
from runtime.environment import STRICT, read
from runtime.kafka import ConsumerGroup, KafkaConnection, TopicNames
from runtime.logs import LogLevel


class Settings(
    ConsumerGroup,
    EstimateRules,
    ChargingRules,
    DebitRules,
    TopicNames,
    LedgerConnection,
    KafkaConnection,
    LogLevel,
):
    """Settings of `billing`, by environment variable.

    A command needs those that it uses, and is told which are missing.
    """

    model_config = STRICT

    kafka_bootstrap_servers: str = Field(
        default="",
        alias="KAFKA_BOOTSTRAP_SERVERS",
        description="Kafka brokers to connect to first, `host:port`, comma-separated. `migrate`, "
        "`report`, `deferred list`, `deferred waive`, `deferred accept` and `findings` do not need "
        "them; `explain` finds more with them.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        alias="DATABASE_URL",
        description="PostgreSQL, a libpq URL. May hold a password: keep it in a secret. `topics` "
        "and `dead-letters` do not need it.",
    )
    litellm_url: HttpAddress = Field(
        default="",
        alias="LITELLM_URL",
        description="Address of a LiteLLM proxy, `https://host`: `doctor` asks it.",
    )
    litellm_api_key: SecretStr = Field(
        default=SecretStr(""),
        alias="LITELLM_API_KEY",
        description="The proxy's master key, or a key of an administrator.",
    )
    gateway_url: HttpAddress = Field(
        default="",
        alias="GATEWAY_URL",
        description="Address of a gateway, `http://host:8080`: `doctor` asks it.",
    )
    ingest_token: SecretStr = Field(
        default=SecretStr(""),
        alias="BILLING_INGEST_TOKEN",
        description="The gateway's token: with it, `doctor` posts a self-test callback.",
    )
    billing_breakdown_models: Names = Field(
        default=(),
        description="Model groups whose deferred calls `deferred apply-rule` settles with the "
        "total of their `cost_breakdown`: comma-separated glob patterns. Some LiteLLM versions "
        "break cache hits down wrongly: compare with an invoice first. Empty: the rule is off.",
    )
    billing_breakdown_after_hours: int = Field(
        default=24,
        ge=0,
        le=8_760,
        description="How long a deferred call is left to a later callback before that rule takes "
        "it, hours.",
    )
    billing_topic_replication_factor: int = Field(
        default=-1,
        ge=-1,
        description="Replicas of each topic that `topics --apply` creates; -1: the broker's "
        "default. Use 3 in production.",
    )

    @field_validator("billing_breakdown_models", mode="before")
    @classmethod
    def _split_models(cls, value: object) -> object:
        return parts(value)

    def breakdown_rule(self) -> BreakdownRule:
        """Return the rule by which deferred calls are settled with what they suggest."""
        after = timedelta(hours=self.billing_breakdown_after_hours)
        return BreakdownRule(self.billing_breakdown_models, after)


def load() -> Settings:
    """Read the settings. Raises `runtime.environment.ConfigurationError`; shows no secret."""
    return read(Settings, "BILLING_")
