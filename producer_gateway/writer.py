"""The thread that does all the work on the spool's file.

What arrives while it waits for the disk shares the next fsync.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog

from producer_gateway import damage, journal
from producer_gateway.damage import DamagedError
from producer_gateway.journal import SpoolError, Work

_LOG: Final = structlog.get_logger(__name__)
_GROUP_JOBS: Final = 1_000
_BEYOND: Final = 1_000_000_000
"""Further than any place of a file whose last one cannot be read."""

_Job: TypeAlias = tuple[Work, "asyncio.Future[Any]"]


class Writer:
    """Does work on the file, in the order in which it comes, and answers in the event loop.

    A file that turns out to be damaged is renamed, a new one begun, and the work done again there.
    """

    def __init__(self, path: Path, on_anew: Callable[[int], None]) -> None:
        """Open the file; where it is damaged, a new one. Raises `SpoolError`.

        `on_anew` is called, in the event loop, when a new file has been begun, with the last place
        of those that went before it.
        """
        self._path = path
        self._on_anew = on_anew
        self.connection = _opened(path)
        self.floor = journal.last(self.connection)
        """Places up to here are taken, also by rows of earlier files."""
        self.oldest = journal.oldest(self.connection)
        """When the oldest record was stored, in seconds since 1970."""
        self._gone = False
        """The damaged file is out of the way, and there is no new one yet."""
        self._loop = asyncio.get_running_loop()
        self._jobs = queue.SimpleQueue[_Job | None]()
        self._thread = threading.Thread(target=self._write, name="spool", daemon=True)

    def start(self) -> None:
        """Begin; until then the connection is the caller's."""
        self._thread.start()

    def submit(
        self, work: Work, then: "Callable[[asyncio.Future[Any]], None] | None" = None
    ) -> "asyncio.Future[Any]":
        """Hand work over; the future ends with what it returns or with its `sqlite3.Error`."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if then is not None:
            future.add_done_callback(then)
        self._jobs.put((work, future))
        return future

    async def close(self, timeout_s: float) -> None:
        """Finish what was handed over and close the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, timeout_s)

    def _write(self) -> None:
        running = True
        while running:
            jobs = [self._jobs.get()]
            while len(jobs) < _GROUP_JOBS and not self._jobs.empty():
                jobs.append(self._jobs.get())
            running = None not in jobs
            self._commit([job for job in jobs if job is not None])
        self.connection.close()

    def _commit(self, jobs: list[_Job]) -> None:
        works = [work for work, _ in jobs]
        if self._gone:
            self._open_anew()
        outcomes = self._done(works)
        if any(map(damage.is_corrupt, outcomes)) and self._begin_anew():
            # Those that were done are in the file that was set aside.
            outcomes = self._done(works)
        oldest = journal.alone(self.connection, journal.oldest)
        futures = [future for _, future in jobs]
        self._loop.call_soon_threadsafe(self._resolve, futures, outcomes, oldest)

    def _done(self, works: list[journal.Work]) -> list[Any]:
        outcomes = journal.together(self.connection, works)
        if outcomes is None:
            # The disk may have no room for one large body: the others must not fail with it.
            outcomes = [journal.alone(self.connection, work) for work in works]
        return outcomes

    def _begin_anew(self) -> bool:
        """Rename the file, which is damaged, and open a new one; false where that cannot be."""
        try:
            self.floor = max(self.floor, journal.last(self.connection))
        except sqlite3.Error:
            self.floor += _BEYOND
        try:
            renamed = damage.set_aside(self._path)
            _LOG.error("spool_damaged", file=renamed.name)
            self._loop.call_soon_threadsafe(self._on_anew, self.floor)
            # Before there is a new one: it removes the log that has the old name.
            self.connection.close()
        except (OSError, sqlite3.Error) as error:
            _LOG.error("spool_failed", detail=str(error))
            return False
        self._gone = True
        return self._open_anew()

    def _open_anew(self) -> bool:
        try:
            self.connection = journal.opened(self._path)
        except (SpoolError, DamagedError) as error:
            _LOG.error("spool_failed", detail=str(error))
            return False
        self._gone = False
        return True

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
