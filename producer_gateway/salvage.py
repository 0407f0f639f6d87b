"""What can still be read of a damaged file of the spool, and bringing it back into the books."""

import mmap
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from producer_gateway import journal
from producer_gateway.journal import COLUMNS, Spooled, SpoolError
from producer_gateway.pages import Pages
from producer_gateway.rows import headers_of, record_of
from producer_gateway.store import Record
from schemas import headers as names

_BATCH: Final = 500
_SHOWN: Final = 100


class Bad(NamedTuple):
    """A row that is not what was written, and what it still says of itself."""

    sequence: int
    stored_at: float | None
    run: str
    call: str
    why: str


@dataclass(slots=True)
class Found:
    """What a file holds."""

    good: int = 0
    unchecked: int = 0
    """Of the good ones: written by a release without checksums, and plausible."""
    bad: list[Bad] = field(default_factory=list)
    lost: int = 0
    """Rows that are known to have been there and cannot be read."""
    broken_pages: int = 0
    """Each may have held rows."""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, as far as can be known."""
        return not (self.bad or self.lost or self.broken_pages)


class Damaged:
    """A file that was set aside. Nothing in it is changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found = Found()

    def records(self) -> Iterator[Spooled]:
        """Return what can be read and is what was written; then `found` says what is not.

        Raises `OSError`.
        """
        log = self._path.with_name(f"{self._path.name}-wal")
        newer = log.read_bytes() if log.exists() else b""
        with self._path.open("rb") as file:
            if not self._path.stat().st_size:
                yield from self._of(Pages(b"", newer))
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield from self._of(Pages(content, newer))

    def _of(self, pages: Pages) -> Iterator[Spooled]:
        for row in pages.rows():
            columns = row.columns + [None] * (len(COLUMNS) - len(row.columns))
            _, _, _, charged, topic, key, headers, value, check = columns[: len(COLUMNS)]
            try:
                record = record_of(topic, key, headers, value, check)
                if check is None:
                    if journal.size(record) != charged:
                        raise ValueError("its size does not fit")  # noqa: TRY301 - as those above
                    self.found.unchecked += 1
            except ValueError as error:
                self.found.bad.append(_described(row.sequence, columns, str(error)))
                continue
            self.found.good += 1
            yield Spooled(row.sequence, record)
        self.found.lost, self.found.broken_pages = pages.lost, len(pages.broken)


def _described(sequence: int, columns: list[int | float | bytes | None], why: str) -> Bad:
    stored_at, key, headers = columns[1], columns[5], columns[6]
    call = ""
    if isinstance(headers, bytes):
        call = dict(headers_of(headers)).get(names.CALL_KEY, b"").decode("utf-8", "replace")
    run = key.decode("utf-8", "replace") if isinstance(key, bytes) else ""
    when = float(stored_at) if isinstance(stored_at, int | float) else None
    return Bad(sequence, when, run[:_SHOWN], call[:_SHOWN], why)


def examine(path: Path) -> Found:
    """Return what the file at `path` holds. Raises `OSError`."""
    damaged = Damaged(path)
    for _ in damaged.records():
        pass
    return damaged.found


def salvage(path: Path, spool: Path) -> Found:
    """Bring what can be read of `path` to where the gateway of `spool` takes it from.

    `path` is renamed when that is done: `.damaged-` becomes `.salvaged-`. What a crash interrupts
    is begun again by the next call. Raises `SpoolError`.
    """
    damaged, into = Damaged(path), _incoming(spool, path)
    half = into.with_name(f"{into.name}.half")
    try:
        half.unlink(missing_ok=True)
        journal.make(half)
        connection = sqlite3.connect(half, isolation_level=None)
        try:
            _fill(connection, damaged.records())
        finally:
            connection.close()
        if damaged.found.good:
            half.rename(into)
        else:
            half.unlink()
        _rename(path)
    except (OSError, sqlite3.Error) as error:
        raise SpoolError(f"cannot salvage {path}: {error}") from error
    return damaged.found


def _fill(connection: sqlite3.Connection, records: Iterator[Spooled]) -> None:
    batch = list[Record]()
    for _, record in records:
        batch.append(record)
        if len(batch) == _BATCH:
            _append(connection, batch)
            batch = []
    _append(connection, batch)


def _append(connection: sqlite3.Connection, batch: list[Record]) -> None:
    connection.execute("BEGIN")
    journal.append(connection, 0.0, batch)
    connection.execute("COMMIT")


def _incoming(spool: Path, damaged: Path) -> Path:
    return spool.with_name(f"{spool.name}.incoming-{damaged.name.rpartition('.')[2]}")


def _rename(path: Path) -> None:
    name = path.name.replace(".damaged-", ".salvaged-")
    for suffix in ("-wal", "-shm", "-journal", ""):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(path.with_name(name + suffix))


def incoming(spool: Path) -> list[Path]:
    """Return the files that were salvaged for the gateway of `spool` and not taken yet."""
    found = spool.parent.glob(f"{spool.name}.incoming-*")
    return sorted(one for one in found if not one.name.endswith((".half", ".new", "-wal", "-shm")))
