"""The spool: takes records while Kafka is away, in their order, on the local disk.

One thread does all the writing; what arrives while it waits for the disk shares the next fsync.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog

from producer_gateway import damage, journal
from producer_gateway.damage import DamagedError
from producer_gateway.journal import FILE_NAME, Batch, Spooled, SpoolError
from producer_gateway.store import NotStoredError, Record

_LOG: Final = structlog.get_logger(__name__)
_GROUP_JOBS: Final = 1_000
_BEYOND: Final = 1_000_000_000
"""Further than any place of a file whose last one cannot be read."""

_Job: TypeAlias = tuple[journal.Work, "asyncio.Future[Any]"]


class Spool:
    """A bounded queue of records on disk; one process at a time.

    All methods belong to the event loop; the counts hold what was handed over and not yet removed.
    `keys` has the number of records of each run, without those that were set aside. A file that is
    damaged is renamed, when it is opened or later, and a new one takes its place.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Open the spool in `directory`, with what a former process left. Raises `SpoolError`."""
        self.path = directory / FILE_NAME
        self._connection = _opened(self.path)
        self._loop = asyncio.get_running_loop()
        self.max_bytes = max_bytes
        self._jobs = queue.SimpleQueue[_Job | None]()
        self.keys = Counter[bytes]()
        self.bytes = 0
        self.set_aside = 0
        self.oldest: float | None = None
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
        self._gone = False
        """The damaged file is out of the way, and there is no new one yet."""
        self._base = 0
        """Places up to here are of a file that was set aside."""
        self._floor = journal.last(self._connection)
        """Places up to here are taken, also by rows of earlier files."""
        for key, count, size in journal.keys(self._connection):
            self.keys[key] = count
            self.bytes += size
        self.records = self.keys.total()
        self.oldest = journal.oldest(self._connection)
        if self.records:
            self.filled.set()
        self._thread = threading.Thread(target=self._write, name="spool", daemon=True)
        self._thread.start()

    def age_s(self) -> float:
        """Return the seconds for which the oldest record has waited; 0 when none waits."""
        return 0.0 if self.oldest is None else max(0.0, time.time() - self.oldest)

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

        job = self._submit(lambda c: journal.append(c, now, records, self._floor), appended)
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
        elif not batch.records and waiting:
            self._count_missing(appended)
        return batch.records

    def _sound(self, connection: sqlite3.Connection, max_records: int, max_bytes: int) -> Batch:
        """Read, and take out what is damaged; in the writing thread."""
        batch = journal.read(connection, max_records, max_bytes)
        if batch.damaged:
            aside = damage.aside(self.path)
            journal.take_out(connection, batch.damaged, aside)
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
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, timeout_s)

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
            return await self._submit(work)
        except sqlite3.Error as error:
            raise SpoolError(f"{self.path}: {error}") from error

    def _submit(
        self, work: journal.Work, then: "Callable[[asyncio.Future[Any]], None] | None" = None
    ) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()
        if then is not None:
            future.add_done_callback(then)
        self._jobs.put((work, future))
        return future

    def _write(self) -> None:
        running = True
        while running:
            jobs = [self._jobs.get()]
            while len(jobs) < _GROUP_JOBS and not self._jobs.empty():
                jobs.append(self._jobs.get())
            running = None not in jobs
            self._commit([job for job in jobs if job is not None])
        self._connection.close()

    def _commit(self, jobs: list[_Job]) -> None:
        works = [work for work, _ in jobs]
        if self._gone:
            self._open_anew()
        outcomes = self._done(works)
        if any(map(damage.is_corrupt, outcomes)) and self._begin_anew():
            # Those that were done are in the file that was set aside.
            outcomes = self._done(works)
        oldest = journal.alone(self._connection, journal.oldest)
        futures = [future for _, future in jobs]
        self._loop.call_soon_threadsafe(self._resolve, futures, outcomes, oldest)

    def _done(self, works: list[journal.Work]) -> list[Any]:
        outcomes = journal.together(self._connection, works)
        if outcomes is None:
            # The disk may have no room for one large body: the others must not fail with it.
            outcomes = [journal.alone(self._connection, work) for work in works]
        return outcomes

    def _begin_anew(self) -> bool:
        """Rename the file, which is damaged, and open a new one; false where that cannot be."""
        try:
            self._floor = max(self._floor, journal.last(self._connection))
        except sqlite3.Error:
            self._floor += _BEYOND
        try:
            renamed = damage.set_aside(self.path)
            _LOG.error("spool_damaged", file=renamed.name)
            self._loop.call_soon_threadsafe(self._forget, self._floor)
            # Before there is a new one: it removes the log that has the old name.
            self._connection.close()
        except (OSError, sqlite3.Error) as error:
            _LOG.error("spool_failed", detail=str(error))
            return False
        self._gone = True
        return self._open_anew()

    def _open_anew(self) -> bool:
        try:
            self._connection = journal.opened(self.path)
        except (SpoolError, DamagedError) as error:
            _LOG.error("spool_failed", detail=str(error))
            return False
        self._gone = False
        return True

    def _forget(self, base: int) -> None:
        """Count only what is being written: all else is in a file that was set aside."""
        self._base = base
        self.keys.clear()
        self.records = self.bytes = self.set_aside = 0
        for records, size in self._appending.values():
            self._count(records, size, 1)

    def _resolve(
        self,
        futures: "list[asyncio.Future[Any]]",
        outcomes: list[Any],
        oldest: float | sqlite3.Error | None,
    ) -> None:
        if not isinstance(oldest, sqlite3.Error):
            self.oldest = oldest
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, sqlite3.Error):
                _fail(future, outcome)
            else:
                future.set_result(outcome)


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file; where it is damaged, a new one. Raises `SpoolError`."""
    try:
        return journal.opened(path)
    except DamagedError as error:
        try:
            renamed = damage.set_aside(path)
            _LOG.error("spool_damaged", file=renamed.name, detail=str(error))
            return journal.opened(path)
        except (OSError, DamagedError) as again:
            raise SpoolError(f"cannot open the spool {path}: {again}") from again


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    future.set_exception(error)
    # Whoever waited for it may have been cancelled; that is no error of its own.
    future.exception()
