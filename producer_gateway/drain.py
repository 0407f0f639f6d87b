"""The drain: brings what is spooled to Kafka, in order, when Kafka is back."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from producer_gateway.failover import FailoverStore, Kafka
from producer_gateway.journal import Spooled, SpoolError
from producer_gateway.metrics import Metrics
from producer_gateway.spool import Spool
from producer_gateway.store import NotStoredError
from runtime.backoff import BackOff

_LOG: Final = structlog.get_logger(__name__)
_BATCH_RECORDS: Final = 1_000
_BATCH_BYTES: Final = 4 * 1024 * 1024
_MOST_PARTS: Final = _BATCH_RECORDS
_TAKEN_BEFORE_MORE: Final = 10
"""So many batches in time before a larger one is tried: each that is late is sent again."""
BACK_OFF: Final = BackOff(first=0.1, longest=5.0)
"""How long Kafka and the disk are left alone after a failure, seconds."""


class Drain:
    """Moves records from the spool to Kafka, batch after batch.

    A record leaves the spool only after its delivery report was good: a crash in between sends it
    a second time, which the ledger knows by its call key.
    """

    def __init__(self, kafka: Kafka, store: FailoverStore, spool: Spool, metrics: Metrics) -> None:
        self._kafka = kafka
        self._store = store
        self._spool = spool
        self._metrics = metrics
        self._parts = 1
        """Into how many a batch is divided, since Kafka did not take a larger one in time."""
        self._taken = 0

    async def run(self) -> None:
        """Drain until cancelled; pause after a failure, the longer the more of them there were."""
        failures = 0
        while True:
            try:
                await self.step()
                failures = 0
            except NotStoredError as error:
                self._store.leave(f"{error.reason}: {error}")
                failures += 1
            except SpoolError as error:
                _LOG.error("spool_failed", detail=str(error))
                failures += 1
            if failures:
                self._metrics.drain_failures.inc()
                await asyncio.sleep(BACK_OFF.pause(failures))
            elif not self._store.away:
                await self._spool.filled.wait()

    async def step(self) -> None:
        """Bring one batch to Kafka. Raises `NotStoredError` or `SpoolError`; then nothing is lost.

        While Kafka is away it is asked first whether it is there: records that are handed over
        and cannot be sent would have to be given up again. A batch that Kafka did not acknowledge
        in time, behind a slow link or a quota, is half as large the next time, down to a record.
        """
        outages = self._store.outages
        if self._store.away:
            missing = await self._kafka.check()
            if missing is None:
                raise NotStoredError("broker_unreachable", "the broker does not answer")
            if missing:
                raise NotStoredError("topics_missing", f"missing: {', '.join(sorted(missing))}")
        batch = await self._spool.read(_BATCH_RECORDS // self._parts, _BATCH_BYTES // self._parts)
        known = [spooled for spooled in batch if spooled.record.topic in self._kafka.topics]
        for spooled in batch:
            if spooled.record.topic not in self._kafka.topics:
                await self._set_aside(spooled, "its topic is not declared")
        if known:
            await self._send_in_time(known)
        self._store.resume(outages)
        if not self._spool.records and not self._store.away:
            self._spool.filled.clear()

    async def _send_in_time(self, batch: Sequence[Spooled]) -> None:
        try:
            await self._send(batch)
        except NotStoredError:
            self._parts, self._taken = min(2 * self._parts, _MOST_PARTS), 0
            raise
        self._taken += 1
        if self._taken == _TAKEN_BEFORE_MORE:
            self._parts, self._taken = max(self._parts // 2, 1), 0

    async def _send(self, batch: Sequence[Spooled]) -> None:
        try:
            await self._kafka.store([spooled.record for spooled in batch])
        except NotStoredError as error:
            if error.reason != "refused":
                raise
            if len(batch) == 1:
                await self._set_aside(batch[0], str(error))
                return
            # Kafka refuses a whole batch for one record in it: find out which, one by one.
            for spooled in batch:
                await self._send([spooled])
            return
        await self._remove(batch)

    async def _remove(self, batch: Sequence[Spooled]) -> None:
        """Remove what Kafka has, however long the disk refuses: sending it again helps nobody."""
        failures = 0
        while True:
            try:
                await self._spool.remove(batch)
            except SpoolError as error:
                failures += 1
                self._metrics.drain_failures.inc()
                _LOG.error("spool_failed", detail=str(error))
                await asyncio.sleep(BACK_OFF.pause(failures))
            else:
                self._metrics.drained.inc(len(batch))
                return

    async def _set_aside(self, spooled: Spooled, reason: str) -> None:
        await self._spool.refuse(spooled, reason)
        self._metrics.spool_refused.inc()
        _LOG.error("spool_refused", topic=spooled.record.topic, reason=reason)
