"""The spool's file: an SQLite database with one table, and the statements on it.

Write-ahead log and `synchronous=FULL`: a commit has been fsynced when it returns, and a torn one is
undone when the file is opened again.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from producer_gateway.store import Record

FILE_NAME: Final = "spool.sqlite3"
_ROW_BYTES: Final = 256
"""What a record is charged beyond its own bytes."""
_JOURNAL_BYTES: Final = 64 * 1024 * 1024
"""The write-ahead log is cut back to this after a larger transaction."""
_OPEN: Final = """
PRAGMA locking_mode=EXCLUSIVE;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS records (
    sequence INTEGER PRIMARY KEY,
    stored_at REAL NOT NULL,
    refused TEXT,
    bytes INTEGER NOT NULL,
    topic TEXT NOT NULL,
    key BLOB NOT NULL,
    headers BLOB NOT NULL,
    value BLOB NOT NULL
);
UPDATE records SET refused = NULL WHERE refused IS NOT NULL;
COMMIT;
"""
_APPEND: Final = (
    "INSERT INTO records (stored_at, bytes, topic, key, headers, value) VALUES (?, ?, ?, ?, ?, ?)"
)
_READ: Final = (
    "SELECT sequence, topic, key, value, headers FROM records "
    "WHERE refused IS NULL ORDER BY sequence LIMIT ?"
)
_REMOVE: Final = "DELETE FROM records WHERE sequence = ?"
_REFUSE: Final = "UPDATE records SET refused = ? WHERE sequence = ?"
_OLDEST: Final = "SELECT stored_at FROM records WHERE refused IS NULL ORDER BY sequence LIMIT 1"
KEYS: Final = "SELECT key, count(*), sum(bytes) FROM records GROUP BY key"
_headers: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]])

Work: TypeAlias = Callable[[sqlite3.Connection], Any]
"""Must not return a cursor: another thread would free it, and with it reset a statement that the
writing thread is just using, which SQLite answers with "API misuse"."""


class SpoolError(Exception):
    """The spool cannot be opened, or the disk refuses; the text says what to do."""


class Spooled(NamedTuple):
    """A record that waits, and its place in the order of all."""

    sequence: int
    record: Record


def opened(path: Path) -> sqlite3.Connection:
    """Open the file, make it where it is missing, and put back what was set aside.

    Locks it against other processes until it is closed. Raises `SpoolError`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # It holds prompts and answers: for the owner alone, as SQLite makes its log like it.
        path.touch(mode=0o600)
        path.chmod(0o600)
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        connection.executescript(_OPEN)
        connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
    except (OSError, sqlite3.Error) as error:
        hint = "is it a directory that this process may write to?"
        if "locked" in str(error):
            hint = "another process uses it; each gateway needs a GATEWAY_SPOOL_DIR of its own"
        raise SpoolError(f"cannot open the spool {path}: {error}; {hint}") from error
    return connection


def together(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Any] | None:
    """Do `works` in one transaction, one fsync; None where it failed and left nothing."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = [work(connection) for work in works]
        connection.execute("COMMIT")
    except sqlite3.Error:
        _roll_back(connection)
        return None
    return outcomes


def alone(connection: sqlite3.Connection, work: Work) -> Any:  # noqa: ANN401 - what `work` returns
    """Do `work` in a transaction; return what it returns, or the error."""
    try:
        connection.execute("BEGIN")
        outcome = work(connection)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(connection)
        return error
    return outcome


def _roll_back(connection: sqlite3.Connection) -> None:
    # After "disk full" SQLite has sometimes done so itself.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def append(connection: sqlite3.Connection, now: float, records: Sequence[Record]) -> None:
    """Add `records` behind all others; `now` in seconds since the epoch."""
    connection.executemany(_APPEND, _rows(now, records))


def _rows(now: float, records: Sequence[Record]) -> Iterator[tuple[Any, ...]]:
    for record in records:
        topic, key, value, headers = record
        yield now, size(record), topic, key, msgspec.msgpack.encode(headers), value


def remove(connection: sqlite3.Connection, spooled: Sequence[Spooled]) -> None:
    """Forget records."""
    connection.executemany(_REMOVE, [(sequence,) for sequence, _ in spooled])


def refuse(connection: sqlite3.Connection, sequence: int, reason: str) -> None:
    """Set a record aside until the file is opened again."""
    connection.execute(_REFUSE, (reason, sequence))


def touch(connection: sqlite3.Connection) -> None:
    """Write without changing anything: it fails where the disk refuses."""
    connection.execute("PRAGMA user_version = 1")


def read(connection: sqlite3.Connection, max_records: int, max_bytes: int) -> list[Spooled]:
    """Return the oldest records in their order, at least one if there is any."""
    found, taken = list[Spooled](), 0
    for sequence, topic, key, value, headers in connection.execute(_READ, (max_records,)):
        found.append(Spooled(sequence, Record(topic, key, value, _headers.decode(headers))))
        taken += len(value)
        if taken >= max_bytes:
            break
    return found


def oldest(connection: sqlite3.Connection) -> float | None:
    """Return when the oldest record was stored, in seconds since the epoch."""
    found = connection.execute(_OLDEST).fetchone()
    return found[0] if found else None


def size(record: Record) -> int:
    """Return the bytes that a record is charged."""
    topic, key, value, headers = record
    named = sum(len(name) + len(text) for name, text in headers)
    return _ROW_BYTES + len(topic) + len(key) + len(value) + named
