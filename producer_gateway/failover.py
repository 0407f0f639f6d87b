"""Where a request's records go: to Kafka, or into the spool while Kafka is away."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from producer_gateway.metrics import Metrics
from producer_gateway.spool import Spool
from producer_gateway.store import NotStoredError, Record, Stored

_LOG: Final = structlog.get_logger(__name__)
_SPOOL_TIMEOUT_S: Final = 20.0


class Kafka(Protocol):
    """What failover and drain need of the producer."""

    @property
    def topics(self) -> frozenset[str]:
        """The topics that may be produced to."""
        ...

    async def store(self, records: Sequence[Record]) -> Stored:
        """Produce `records` in order. Raises `NotStoredError`."""
        ...

    def abandon(self) -> None:
        """Give up on everything that was handed over and not acknowledged."""
        ...

    async def check(self) -> frozenset[str] | None:
        """Return the topics that are missing, None without an answer."""
        ...


class _Flight:
    """Records on their way to Kafka, and into the spool once that is away."""

    __slots__ = ("records", "spooled")

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.spooled: asyncio.Future[None] | None = None


class FailoverStore:
    """Stores in Kafka while that is there and no record of the same run waits in the spool.

    Once Kafka is known to be away (no broker to connect to, or a record that was not acknowledged
    in time) everything goes straight to the spool, in the order of arrival, until the drain gets
    through again. So the order of a run is one, whichever way its records take: what was on its
    way is given up and spooled first, and later records of a run queue behind its spooled ones. A
    record may then be in Kafka twice, which the ledger knows by the call key.
    """

    def __init__(self, kafka: Kafka, spool: Spool, metrics: Metrics) -> None:
        self._kafka = kafka
        self._spool = spool
        self._metrics = metrics
        self._flights = dict[_Flight, None]()
        self.away: str | None = "the broker has not answered yet"
        """Why nothing goes to Kafka; None when it takes records."""
        self.outages = 0

    async def store(self, records: Sequence[Record]) -> Stored:
        """Make `records` durable, all in Kafka or all in the spool. Raises `NotStoredError`."""
        if not records:
            return Stored(0, 0)
        waiting = self._spool.keys
        if self.away or (waiting and any(record.key in waiting for record in records)):
            return await self._spooled(self._spool.append(records), len(records))
        flight = _Flight(records)
        self._flights[flight] = None
        try:
            return await self._kafka.store(records)
        except NotStoredError as error:
            # One that is refused as such says nothing about Kafka; the drain will set it aside.
            if flight.spooled is None and error.reason != "refused":
                self.leave(f"{error.reason}: {error}")
            spooled = flight.spooled or self._spool.append(records)
        finally:
            del self._flights[flight]
        return await self._spooled(spooled, len(records))

    def leave(self, reason: str) -> None:
        """Take Kafka for away: spool what is on its way, in order, and all that follows."""
        if self.away is None:
            _LOG.warning("kafka_away", reason=reason, in_hand=len(self._flights))
        self.away = reason
        self.outages += 1
        for flight in self._flights:
            if flight.spooled is None:
                flight.spooled = self._spool.append(flight.records)
        self._kafka.abandon()
        self._spool.filled.set()

    def resume(self, outages: int) -> None:
        """Kafka takes records again, unless it went away again after `outages` was read."""
        if self.outages == outages and self.away is not None:
            _LOG.info("kafka_back", spooled=self._spool.records)
            self.away = None

    async def _spooled(self, appended: "asyncio.Future[None]", count: int) -> Stored:
        try:
            async with asyncio.timeout(_SPOOL_TIMEOUT_S):
                await asyncio.shield(appended)
        except TimeoutError:
            raise NotStoredError("spool_failed", "the spool's disk does not answer") from None
        self._metrics.spooled.inc(count)
        return Stored(0, count)
