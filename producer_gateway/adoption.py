"""Taking what was salvaged of a damaged file into the spool that is in use."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Final

import structlog

from producer_gateway import journal
from producer_gateway.journal import Batch, SpoolError
from producer_gateway.metrics import Metrics
from producer_gateway.salvage import incoming
from producer_gateway.spool import Spool
from producer_gateway.store import NotStoredError

_LOG: Final = structlog.get_logger(__name__)
_EVERY_S: Final = 5.0
_RECORDS: Final = 500
_BYTES: Final = 4 * 1024 * 1024


class Adoption:
    """Looks for files that `spool salvage` has left, and takes them, a part at a time.

    A part is in the spool before it leaves its file: a crash in between takes it twice, which the
    ledger knows by the call key.
    """

    def __init__(self, spool: Spool, metrics: Metrics) -> None:
        self._spool = spool
        self._metrics = metrics

    async def run(self) -> None:
        """Look again and again, until cancelled; what fails is tried again."""
        while True:
            try:
                await self.step()
            except (NotStoredError, SpoolError, OSError) as error:
                self._metrics.drain_failures.inc()
                _LOG.error("not_adopted", detail=str(error))
            await asyncio.sleep(_EVERY_S)

    async def step(self) -> None:
        """Take what is there. Raises `NotStoredError`, `SpoolError`, `OSError`: the rest stays."""
        for path in await asyncio.to_thread(incoming, self._spool.path):
            taken = 0
            while batch := await asyncio.to_thread(_oldest, path):
                await self._spool.append([record for _, record in batch.records])
                taken += len(batch.records)
                await asyncio.to_thread(_forget, path, batch)
            await asyncio.to_thread(path.unlink)
            self._metrics.adopted.inc(taken)
            _LOG.info("adopted", file=path.name, records=taken)


def _oldest(path: Path) -> Batch | None:
    """Return the oldest records; None where none is left."""
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            batch = journal.read(connection, _RECORDS, _BYTES)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise SpoolError(f"{path}: {error}") from error
    if batch.damaged:
        raise SpoolError(f"{path}: the file is damaged again")
    return batch if batch.records else None


def _forget(path: Path, batch: Batch) -> None:
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("BEGIN")
            journal.remove(connection, batch.records)
            connection.execute("COMMIT")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise SpoolError(f"{path}: {error}") from error
