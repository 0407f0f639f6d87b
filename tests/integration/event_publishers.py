"""Processes that publish what waits in the ledger, and end at a chosen step."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Final
from uuid import uuid4

import psycopg

from consumer.credit_events import CreditEventPublisher, EventTopic
from ledger.credit_events import CreditEvents, Numbered
from tests.databases.writing import ROLE
from tests.waiting import NET_SECONDS

LONG_SECONDS: Final = 3_600.0
"""Until a checkpoint, which no test here is about."""


class CrashError(Exception):
    """The process ends here."""


class CrashingTopic(EventTopic):
    """Ends before or behind a commit, and leaves the transaction as it is."""

    crash = ""

    def publish(self, events: Sequence[Numbered]) -> None:
        if self.crash == "before":
            self._producer.begin_transaction()
            self._producer.produce(self._topic, b"never committed", b"k")
            self._producer.flush(NET_SECONDS)
            raise CrashError
        super().publish(events)
        if self.crash == "behind":
            raise CrashError


class CrashingEvents(CreditEvents):
    """Ends once the events have their numbers."""

    crash = ""

    def batch(self, holder: str, seconds: float, published: int, limit: int) -> list[Numbered]:
        found = super().batch(holder, seconds, published, limit)
        if self.crash == "numbered" and found:
            raise CrashError
        return found


class Publishers:
    """Processes that publish, one after the other or at once."""

    def __init__(self, kafka: str, topic: str, receipts: str, url: str) -> None:
        common: dict[str, Any] = {"bootstrap.servers": kafka, "log_level": 0}
        group = f"{topic}-publishers"
        self._topic = partial(
            CrashingTopic,
            common
            | {
                "transactional.id": group,
                "acks": "all",
                "linger.ms": 1_000,
                "partitioner": "murmur2_random",
            },
            common | {"group.id": group, "isolation.level": "read_committed"},
            topic,
            receipts,
        )
        self._url = url
        self._left = ExitStack()

    def new(self, crash: str = "") -> CreditEventPublisher:
        """A process that ends at a step, or at none."""
        events = self._left.enter_context(closing(CrashingEvents(self._url, ROLE)))
        events.crash = crash

        def make() -> EventTopic:
            topic = self._left.enter_context(closing(self._topic()))
            topic.crash = crash
            return topic

        return CreditEventPublisher(events, make, uuid4().hex, LONG_SECONDS, run_grace_seconds=0)

    def close(self) -> None:
        """Close what crashes have left open."""
        self._left.close()

    def free(self) -> None:
        """The time of whoever publishes is over."""
        with psycopg.connect(self._url) as admin:
            admin.execute("UPDATE billing.credit_event_publisher SET until = now()")
