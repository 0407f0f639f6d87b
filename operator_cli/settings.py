"""The settings of what people do by hand, read once from the environment."""

from pydantic import Field, SecretStr

from charging.settings import ChargingRules
from ledger.settings import LedgerConnection
from runtime.environment import STRICT, read
from runtime.kafka import ConsumerGroup, KafkaConnection, TopicNames
from runtime.logs import LogLevel


class Settings(
    ConsumerGroup, ChargingRules, TopicNames, LedgerConnection, KafkaConnection, LogLevel
):
    """Settings of `billing`, by environment variable.

    A command needs those that it uses, and is told which are missing.
    """

    model_config = STRICT

    kafka_bootstrap_servers: str = Field(
        default="",
        alias="KAFKA_BOOTSTRAP_SERVERS",
        description="Kafka brokers to connect to first, `host:port`, comma-separated. `migrate`, "
        "`report`, `deferred list` and `deferred waive` do not need them; `explain` finds more "
        "with them.",
    )
    database_url: SecretStr = Field(
        default=SecretStr(""),
        alias="DATABASE_URL",
        description="PostgreSQL, a libpq URL. May hold a password: keep it in a secret. `topics` "
        "and `dead-letters` do not need it.",
    )
    billing_topic_replication_factor: int = Field(
        default=-1,
        ge=-1,
        description="Replicas of each topic that `topics --apply` creates; -1: the broker's "
        "default. Use 3 in production.",
    )


def load() -> Settings:
    """Read the settings. Raises `runtime.environment.ConfigurationError`; shows no secret."""
    return read(Settings, "BILLING_")
