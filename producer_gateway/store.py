"""The one interface behind which a request's records become durable."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from schemas.headers import Headers


class Record(NamedTuple):
    """A record for Kafka, complete."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers


class Stored(NamedTuple):
    """Where the records of one request are durable now, in numbers of records."""

    produced: int
    spooled: int


class NotStoredError(Exception):
    """At least one record is not durable, so the sender must be told that nothing is.

    Some records of the request may have been stored all the same: when the sender sends them
    again they are duplicates, which the ledger knows by their call key.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Store(Protocol):
    """Takes records and returns when every one of them is durable (ACCEPTED_IS_DURABLE)."""

    async def store(self, records: Sequence[Record]) -> Stored:
        """Make `records` durable, in bounded time. Raises `NotStoredError`."""
        ...
