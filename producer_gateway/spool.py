"""The spool: takes records while Kafka is away, in their order, on the local disk."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from producer_gateway import damage, journal
from producer_gateway.journal import FILE_NAME, Batch, Spooled, SpoolError
from producer_gateway.store import NotStoredError, Record
from producer_gateway.writer import Writer

_LOG: Final = structlog.get_logger(__name__)


class Spool:
    """A bounded queue of records on disk; one process at a time.

    All methods belong to the event loop; the counts hold what was handed over and not yet removed.
    `keys` has the number of records of each run, without those that were set aside. A file that is
    damaged is renamed, when it is opened or later, and a new one takes its place.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Open the spool in `directory`, with what a former process left. Raises `SpoolError`."""
        self.path = directory / FILE_NAME
        self._writer = Writer(self.path, self._forget)
        self._loop = asyncio.get_running_loop()
        self.max_bytes = max_bytes
        self.keys = Counter[bytes]()
        self.bytes = 0
        self.set_aside = 0
        self.trouble: str | None = None
        """Why the latest record was not taken; None when it was, or when room was made since."""
        self.filled = asyncio.Event()
        """Set when there may be something to drain; cleared by who drains."""
        self.on_damaged: Callable[[int], None] = lambda _: None
        """Called with the number of rows that are not what was written."""
        self.on_missing: Callable[[int], None] = lambda _: None
        """Called with the number of records that should wait and do not."""
        self._appending = dict[asyncio.Future[Any], tuple[Sequence[Record], int]]()
        self._appended = 0
        """Records handed over, ever."""
        self._base = 0
        """Places up to here are of a file that was set aside."""
        for key, count, size in journal.keys(self._connection):
            self.keys[key] = count
            self.bytes += size
        self.records = self.keys.total()
        if self.records:
            self.filled.set()
        self._writer.start()

    @property
    def _connection(self) -> sqlite3.Connection:
        return self._writer.connection

    def age_s(self) -> float:
        """Return the seconds for which the oldest record has waited; 0 when none waits."""
        oldest = self._writer.oldest
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)

    def append(self, records: Sequence[Record]) -> "asyncio.Future[None]":
        """Take `records`, all or none, behind all that was taken before.

        The future ends when they are on the disk, or with `NotStoredError`: `spool_full`, or
        `spool_failed` where the disk refuses.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        size = sum(map(journal.size, records))
        if self.bytes + size > self.max_bytes:
            self.trouble = "full"
            _fail(done, NotStoredError("spool_full", "neither broker nor spool has room"))
            return done
        self._count(records, size, 1)
        now = time.time()

        def appended(outcome: "asyncio.Future[Any]") -> None:
            del self._appending[outcome]
            if error := outcome.exception():
                self._count(records, size, -1)
                self.trouble = str(error)
                _fail(done, NotStoredError("spool_failed", f"the spool cannot write: {error}"))
            else:
                self.trouble = None
                self.filled.set()
                done.set_result(None)

        job = self._writer.submit(
            lambda c: journal.append(c, now, records, self._writer.floor), appended
        )
        self._appending[job] = records, size
        self._appended += len(records)
        return done

    async def read(self, max_records: int, max_bytes: int) -> list[Spooled]:
        """Return the oldest records, at least one if there is any. Raises `SpoolError`.

        Rows that are not what was written are moved into a file of their own and never returned.
        """
        waiting, appended, base = self.records, self._appended, self._base
        batch: Batch = await self._run(lambda c: self._sound(c, max_records, max_bytes))
        if base != self._base:
            return []
        if batch.damaged:
            self._count_damaged(len(batch.damaged))
        elif not batch.records and waiting and max_records:
            self._count_missing(appended)
        return batch.records

    def _sound(self, connection: sqlite3.Connection, max_records: int, max_bytes: int) -> Batch:
        """Read, and take out what is damaged; in the writing thread."""
        batch = journal.read(connection, max_records, max_bytes)
        if batch.damaged:
            aside = damage.aside(self.path)
            try:
                journal.take_out(connection, batch.damaged, aside)
            except OSError as error:
                raise sqlite3.OperationalError(f"{aside}: {error}") from error
            _LOG.error("spool_rows_damaged", count=len(batch.damaged), file=aside.name)
        return batch

    def _count_damaged(self, count: int) -> None:
        self.on_damaged(count)
        self.records -= count
        if not self.records:
            # Their own bytes and runs are not known: what they said of it is damaged.
            self._nothing_waits()

    def _count_missing(self, appended: int) -> None:
        """Nothing was found: what should have waited then, and does not wait since, is missing."""
        missing = self.records - (self._appended - appended)
        if missing > 0:
            _LOG.error("spool_records_missing", count=missing)
            self.on_missing(missing)
            self.records -= missing
            if not self.records:
                self._nothing_waits()

    def _nothing_waits(self) -> None:
        self.keys.clear()
        if not self.set_aside:
            self.bytes = 0

    async def remove(self, spooled: Sequence[Spooled]) -> None:
        """Forget records that are durable elsewhere; their bytes are free. Raises `SpoolError`."""
        await self._run(lambda c: journal.remove(c, spooled))
        records = [record for sequence, record in spooled if sequence > self._base]
        self._count(records, sum(map(journal.size, records)), -1)
        self.trouble = None

    async def refuse(self, spooled: Spooled, reason: str) -> None:
        """Set a record aside: kept, out of the others' way, and back when the spool is reopened.

        Raises `SpoolError`.
        """
        sequence, record = spooled
        await self._run(lambda c: journal.refuse(c, sequence, reason))
        if sequence > self._base:
            self._count([record], 0, -1)
            self.set_aside += 1

    async def check(self) -> None:
        """Write, so that `trouble` ends when the disk's does. Raises `SpoolError`."""
        if self.trouble and self.trouble != "full":
            await self._run(journal.touch)
            self.trouble = None

    async def close(self, timeout_s: float) -> None:
        """Write what was handed over and close the file; what is in it waits for the next start."""
        await self._writer.close(timeout_s)

    def _count(self, records: Sequence[Record], size: int, sign: int) -> None:
        self.records += sign * len(records)
        self.bytes = max(0, self.bytes + sign * size)
        for record in records:
            self.keys[record.key] += sign
            if self.keys[record.key] <= 0:
                del self.keys[record.key]
        if not self.records and self.keys:
            self._nothing_waits()

    async def _run(self, work: journal.Work) -> Any:  # noqa: ANN401 - what `work` returns
        try:
            return await self._writer.submit(work)
        except sqlite3.Error as error:
            raise SpoolError(f"{self.path}: {error}") from error

    def _forget(self, base: int) -> None:
        """Count only what is being written: all else is in a file that was set aside."""
        self._base = base
        self.keys.clear()
        self.records = self.bytes = self.set_aside = 0
        for records, size in self._appending.values():
            self._count(records, size, 1)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    future.set_exception(error)
    # Whoever waited for it may have been cancelled; that is no error of its own.
    future.exception()
