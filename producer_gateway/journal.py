"""The spool's file: an SQLite database with one table, and the statements on it.

Write-ahead log and `synchronous=FULL`: a commit has been fsynced when it returns, and a torn one is
undone when the file is opened again. Each row has a checksum of its own: a disk that changes a bit
of a row changes nothing that SQLite would notice.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from producer_gateway.damage import DamagedError, is_damage, is_used, wal_trouble
from producer_gateway.pages import PAGE
from producer_gateway.rows import checksum, record_of
from producer_gateway.store import Record

FILE_NAME: Final = "spool.sqlite3"
_ROW_BYTES: Final = 256
"""What a record is charged beyond its own bytes."""
_JOURNAL_BYTES: Final = 64 * 1024 * 1024
"""The write-ahead log is cut back to this after a larger transaction."""
COLUMNS: Final = (
    *("sequence", "stored_at", "refused", "bytes", "topic", "key", "headers", "value"),
    "checksum",
)
TABLE: Final = """
PRAGMA page_size=4096;
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS records (
    sequence INTEGER PRIMARY KEY,
    stored_at REAL NOT NULL,
    refused TEXT,
    bytes INTEGER NOT NULL,
    topic TEXT NOT NULL,
    key BLOB NOT NULL,
    headers BLOB NOT NULL,
    value BLOB NOT NULL,
    checksum BLOB
);
"""
_PUT_BACK: Final = "UPDATE records SET refused = NULL WHERE refused IS NOT NULL"
_LAYOUT: Final = "SELECT name FROM pragma_table_info('records') ORDER BY cid"
_ADD_CHECKSUM: Final = "ALTER TABLE records ADD COLUMN checksum BLOB"
"""Rows of releases without it have none, and none is checked."""
_LAST: Final = "SELECT coalesce(max(sequence), 0) FROM records"
_APPEND: Final = (
    "INSERT INTO records (sequence, stored_at, bytes, topic, key, headers, value, checksum) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
# A text that is no UTF-8 any more would fail the whole statement.
_READ: Final = (
    "SELECT sequence, CAST(topic AS BLOB), key, headers, value, checksum FROM records "
    "WHERE refused IS NULL ORDER BY sequence LIMIT ?"
)
COPY: Final = (
    "SELECT sequence, stored_at, refused, bytes, CAST(topic AS BLOB), key, headers, value, "
    "checksum FROM records WHERE sequence = ?"
)
_REMOVE: Final = "DELETE FROM records WHERE sequence = ?"
_REFUSE: Final = "UPDATE records SET refused = ? WHERE sequence = ?"
_OLDEST: Final = "SELECT stored_at FROM records WHERE refused IS NULL ORDER BY sequence LIMIT 1"
# What a row is charged is its own statement; it cannot be more than this.
KEYS: Final = (
    "SELECT key, count(*), sum(coalesce(min(bytes, ? + length(CAST(topic AS BLOB)) + length(key) "
    "+ length(headers) + length(value)), 0)) FROM records GROUP BY key"
)
Work: TypeAlias = Callable[[sqlite3.Connection], Any]
"""Must not return a cursor: another thread would free it, and with it reset a statement that the
writing thread is just using, which SQLite answers with "API misuse"."""


class SpoolError(Exception):
    """The spool cannot be opened, or the disk refuses; the text says what to do."""


class Spooled(NamedTuple):
    """A record that waits, and its place in the order of all."""

    sequence: int
    record: Record


class Batch(NamedTuple):
    """What was read: records, and the places of rows that are not what was written."""

    records: list[Spooled]
    damaged: list[int]


def opened(path: Path) -> sqlite3.Connection:
    """Open the file, make it where it is missing, and put back what was set aside.

    Locks it against other processes until it is closed. Raises `SpoolError`, and `DamagedError`
    where the file is not what was written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            make(path)
        if is_used(path):
            hint = "another process uses it; each gateway needs a GATEWAY_SPOOL_DIR of its own"
            raise SpoolError(f"cannot open the spool {path}: {hint}")
        if trouble := _trouble(path):
            raise DamagedError(trouble)
        return _connected(path)
    except (OSError, sqlite3.Error) as error:
        hint = "is it a directory that this process may write to?"
        raise SpoolError(f"cannot open the spool {path}: {error}; {hint}") from error


def make(path: Path) -> None:
    """Make an empty file, all of it at once: one without content is never a new one."""
    half = path.with_name(f"{path.name}.new")
    half.unlink(missing_ok=True)
    # It holds prompts and answers: for the owner alone, as SQLite makes its log like it.
    half.touch(mode=0o600)
    half.chmod(0o600)
    connection = sqlite3.connect(half, isolation_level=None)
    try:
        connection.executescript(TABLE)
    finally:
        connection.close()
    half.rename(path)


def _trouble(path: Path) -> str | None:
    """Return what is wrong with a file that is there, as far as SQLite would not say."""
    if path.stat().st_size < PAGE:
        return "the file is shorter than a page"
    return wal_trouble(path)


def _connected(path: Path) -> sqlite3.Connection:
    path.chmod(0o600)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        _begin(connection)
    except sqlite3.Error as error:
        connection.close()
        if is_damage(error, path):
            raise DamagedError(str(error)) from error
        raise
    except DamagedError:
        connection.close()
        raise
    return connection


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.executescript(TABLE)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_PUT_BACK)
    connection.execute("COMMIT")
    connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
    layout = tuple(name for (name,) in connection.execute(_LAYOUT))
    if layout == COLUMNS[:-1]:
        connection.execute(_ADD_CHECKSUM)
    elif layout != COLUMNS:
        raise DamagedError("it has not the spool's table")
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise DamagedError(str(said))


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


def append(
    connection: sqlite3.Connection, now: float, records: Sequence[Record], floor: int = 0
) -> None:
    """Add `records` behind all others; `now` in seconds since the epoch.

    `floor`: their places are higher, also in an empty file.
    """
    connection.executemany(_APPEND, _rows(max(last(connection), floor), now, records))


def last(connection: sqlite3.Connection) -> int:
    """Return the highest place that is taken, 0 where none is."""
    found: int = connection.execute(_LAST).fetchone()[0]
    return found


def _rows(before: int, now: float, records: Sequence[Record]) -> Iterator[tuple[Any, ...]]:
    for sequence, record in enumerate(records, before + 1):
        topic, key, value, pairs = record
        headers = msgspec.msgpack.encode(pairs)
        check = checksum(topic.encode(), key, headers, value)
        yield sequence, now, size(record), topic, key, headers, value, check


def remove(connection: sqlite3.Connection, spooled: Sequence[Spooled]) -> None:
    """Forget records."""
    connection.executemany(_REMOVE, [(sequence,) for sequence, _ in spooled])


def refuse(connection: sqlite3.Connection, sequence: int, reason: str) -> None:
    """Set a record aside until the file is opened again."""
    connection.execute(_REFUSE, (reason, sequence))


def touch(connection: sqlite3.Connection) -> None:
    """Write without changing anything: it fails where the disk refuses."""
    connection.execute("PRAGMA user_version = 1")


def read(connection: sqlite3.Connection, max_records: int, max_bytes: int) -> Batch:
    """Return the oldest records in their order, at least one row if there is any."""
    found, taken = Batch([], []), 0
    for sequence, topic, key, headers, value, check in connection.execute(_READ, (max_records,)):
        try:
            record = record_of(topic, key, headers, value, check)
        except ValueError:
            found.damaged.append(sequence)
            continue
        found.records.append(Spooled(sequence, record))
        taken += len(value)
        if taken >= max_bytes:
            break
    return found


def take_out(connection: sqlite3.Connection, sequences: Sequence[int], aside: Path) -> None:
    """Move rows as they are into a file of their own. Raises `OSError` as well."""
    rows = [row for one in sequences for row in connection.execute(COPY, (one,))]
    make(aside)
    other = sqlite3.connect(aside, isolation_level=None)
    try:
        other.executescript("BEGIN")
        marks = ", ".join("?" * len(COLUMNS))
        other.executemany(f"INSERT INTO records VALUES ({marks})", rows)  # noqa: S608 - marks only
        other.execute("COMMIT")
    finally:
        other.close()
    connection.executemany(_REMOVE, [(sequence,) for sequence in sequences])


def keys(connection: sqlite3.Connection) -> list[tuple[bytes, int, int]]:
    """Return each run's key, with the number of its records and the bytes they are charged."""
    return connection.execute(KEYS, (_ROW_BYTES,)).fetchall()


def summary(connection: sqlite3.Connection) -> tuple[int, int, float | None]:
    """Return how many records there are, the bytes they are charged, and since when."""
    by_key = keys(connection)
    counts, sizes = sum(row[1] for row in by_key), sum(row[2] for row in by_key)
    return counts, sizes, oldest(connection)


def oldest(connection: sqlite3.Connection) -> float | None:
    """Return when the oldest record was stored, in seconds since the epoch."""
    found = connection.execute(_OLDEST).fetchone()
    return found[0] if found and isinstance(found[0], float) else None


def size(record: Record) -> int:
    """Return the bytes that a record is charged."""
    topic, key, value, headers = record
    named = sum(len(name) + len(text) for name, text in headers)
    return _ROW_BYTES + len(topic) + len(key) + len(value) + named
