"""The consumer's settings, read once from the environment."""

from pydantic import Field

from charging.settings import ChargingRules
from ledger.settings import DebitRules, LedgerConnection
from runtime.environment import STRICT, read
from runtime.kafka import ConsumerGroup, KafkaConnection, TopicNames
from runtime.logs import LogLevel
from runtime.tracing import Tracing


class Settings(
    ConsumerGroup,
    ChargingRules,
    DebitRules,
    TopicNames,
    LedgerConnection,
    KafkaConnection,
    LogLevel,
    Tracing,
):
    """Settings of `python -m consumer run`, by environment variable."""

    model_config = STRICT

    consumer_metrics_host: str = Field(
        default="127.0.0.1", description="Address of the probes and metrics."
    )
    consumer_metrics_port: int = Field(
        default=9091,
        ge=0,
        le=65_535,
        description="Port of the probes and metrics; 0 chooses a free one.",
    )
    consumer_batch_records: int = Field(
        default=3_000, ge=1, le=50_000, description="Most records in one transaction."
    )
    consumer_batch_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1,
        description="Bytes of decompressed values after which a batch takes no more records.",
    )
    consumer_fetch_bytes: int = Field(
        default=64 * 1024,
        ge=1_000,
        le=8 * 1024 * 1024,
        description="Most bytes in one answer of a broker, compressed. In memory, content that "
        "compresses well takes hundreds of times as much. Raise it if brokers are far away.",
    )
    consumer_batch_wait_ms: int = Field(
        default=20, ge=1, le=5_000, description="Longest wait for a batch to fill, milliseconds."
    )
    consumer_session_timeout_ms: int = Field(
        default=15_000,
        ge=1_000,
        description="How long the group waits for a silent member, milliseconds.",
    )
    consumer_transaction_timeout_ms: int = Field(
        default=15_000,
        ge=1_000,
        description="How long the broker keeps a transaction of a dead member open, milliseconds. "
        "Where Kafka ends none in that time, twice as long with each try, up to two minutes.",
    )
    consumer_seals: bool = Field(
        default=True,
        description="Seal what is written, so that `billing verify` finds what is changed later.",
    )
    consumer_checkpoint_seconds: float = Field(
        default=3_600,
        gt=0,
        description="Least time from one checkpoint over what was written to the next, seconds. "
        "`billing verify` says what that is.",
    )
    consumer_run_grace_seconds: float = Field(
        default=20,
        ge=0,
        description="How long after the end of a run its cost is summed up and published, seconds: "
        "its last callbacks come meanwhile.",
    )
    consumer_retry_max_ms: int = Field(
        default=10_000,
        ge=10,
        description="Longest pause between two tries while a dependency is away, milliseconds.",
    )
    consumer_dead_letter_run: int = Field(
        default=100,
        ge=1,
        description="If this many records in a row would be parked, the consumer stops, unless it "
        "can read and store its built-in sample.",
    )
    consumer_dead_letter_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="If more than this share of the last CONSUMER_DEAD_LETTER_WINDOW records would "
        "be parked, the consumer stops in the same way.",
    )
    consumer_dead_letter_window: int = Field(
        default=1_000, ge=10, description="Number of records over which that share is computed."
    )
    consumer_stalled_after_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Seconds after which /livez fails if the consumer's loop makes no turn, or if "
        "records wait and none is committed.",
    )


def load() -> Settings:
    """Read the settings. Raises `runtime.environment.ConfigurationError`; shows no secret."""
    return read(Settings, "CONSUMER_", "CONSUMER_METRICS_URL")
