"""Metrics of what every process does: talk to Kafka and to PostgreSQL.

Their names begin with the consumer's, as they did before there was another process.
"""

from typing import Final

from prometheus_client import Counter

RETRIES: Final = Counter(
    "billing_consumer_retries_total",
    "Batches tried again because a dependency failed.",
    ["dependency"],
)
HEADERS_UNREADABLE: Final = Counter(
    "billing_consumer_unreadable_headers_total",
    "Records with a header whose name is no UTF-8, each time that one was read.",
)
KAFKA_ERRORS: Final = Counter(
    "billing_consumer_kafka_errors_total", "Errors reported by the Kafka client.", ["code"]
)


class BoundedLabel:
    """A label whose values come from strangers: the first `limit` keep their name, then `other`."""

    def __init__(self, limit: int = 200) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str | None) -> str:
        """Return the label for `value`; nothing and empty text are `unknown`."""
        name = (value or "unknown")[:128]
        if name in self._seen:
            return name
        if len(self._seen) >= self._limit:
            return "other"
        self._seen.add(name)
        return name
