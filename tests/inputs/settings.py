"""Settings of the consumer for tests that reach neither Kafka nor PostgreSQL."""

from typing import Any, Final

from consumer.settings import Settings

NEEDED: Final = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "DATABASE_URL": "postgresql://billing@127.0.0.1:1/billing",
}
"""What the consumer does not start without."""


def settings(**values: Any) -> Settings:  # noqa: ANN401 - of whatever type the setting has
    """The settings with these values, by the names of their fields."""
    return Settings(**{**NEEDED, **values})
