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

from producer_gateway import journal
from producer_gateway.journal import FILE_NAME, Spooled, SpoolError
from producer_gateway.store import NotStoredError, Record

_GROUP_JOBS: Final = 1_000

_Job: TypeAlias = tuple[journal.Work, "asyncio.Future[Any]"]


class Spool:
    """A bounded queue of records on disk; one process at a time.

    All methods belong to the event loop; the counts hold what was handed over and not yet removed.
    `keys` has the number of records of each run, without those that were set aside.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Open the spool in `directory`, with what a former process left. Raises `SpoolError`."""
        self._path = directory / FILE_NAME
        self._connection = journal.opened(self._path)
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
        for key, count, size in self._connection.execute(journal.KEYS):
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
            if error := outcome.exception():
                self._count(records, size, -1)
                self.trouble = str(error)
                _fail(done, NotStoredError("spool_failed", f"the spool cannot write: {error}"))
            else:
                self.trouble = None
                self.filled.set()
                done.set_result(None)

        self._submit(lambda c: journal.append(c, now, records), appended)
        return done

    async def read(self, max_records: int, max_bytes: int) -> list[Spooled]:
        """Return the oldest records, at least one if there is any. Raises `SpoolError`."""
        found: list[Spooled] = await self._run(lambda c: journal.read(c, max_records, max_bytes))
        return found

    async def remove(self, spooled: Sequence[Spooled]) -> None:
        """Forget records that are durable elsewhere; their bytes are free. Raises `SpoolError`."""
        records = [record for _, record in spooled]
        await self._run(lambda c: journal.remove(c, spooled))
        self._count(records, sum(map(journal.size, records)), -1)
        self.trouble = None

    async def refuse(self, spooled: Spooled, reason: str) -> None:
        """Set a record aside: kept, out of the others' way, and back when the spool is reopened.

        Raises `SpoolError`.
        """
        sequence, record = spooled
        await self._run(lambda c: journal.refuse(c, sequence, reason))
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
        self.bytes += sign * size
        for record in records:
            self.keys[record.key] += sign
            if not self.keys[record.key]:
                del self.keys[record.key]

    async def _run(self, work: journal.Work) -> Any:  # noqa: ANN401 - what `work` returns
        try:
            return await self._submit(work)
        except sqlite3.Error as error:
            raise SpoolError(f"{self._path}: {error}") from error

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
        outcomes = journal.together(self._connection, works)
        if outcomes is None:
            # The disk may have no room for one large body: the others must not fail with it.
            outcomes = [journal.alone(self._connection, work) for work in works]
        oldest = journal.alone(self._connection, journal.oldest)
        futures = [future for _, future in jobs]
        self._loop.call_soon_threadsafe(self._resolve, futures, outcomes, oldest)

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


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    future.set_exception(error)
    # Whoever waited for it may have been cancelled; that is no error of its own.
    future.exception()
