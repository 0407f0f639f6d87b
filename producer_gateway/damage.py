"""Files of the spool that are not what was written: how that is seen, and where they go."""

import contextlib
import fcntl
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from producer_gateway.pages import Log

_LOCK_BYTE: Final = 0x40000000
_LOCK_BYTES: Final = 512
"""Where SQLite has its locks on a file, whatever the file's size."""
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")
_SOUND: Final = frozenset({
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
})  # fmt: skip
"""Errors of opening that say nothing about what is in the file."""
_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})


class DamagedError(Exception):
    """The file is not what was written; the text says how that is known."""


def is_damage(error: sqlite3.Error, path: Path) -> bool:
    """Whether an error of opening `path` tells that it is damaged."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_READONLY:
        # A bit of the head says "for reading only"; so does a disk that is mounted like that.
        return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    return code not in _SOUND


def is_corrupt(error: object) -> bool:
    """Whether an error while the file is open tells that it is damaged."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return isinstance(error, sqlite3.Error) and code & 0xFF in _CORRUPT


def is_used(path: Path) -> bool:
    """Whether another process has the file open as a database. Raises `OSError`."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCK_BYTES, _LOCK_BYTE)
        except BlockingIOError:
            return True
    return False


def wal_trouble(path: Path) -> str | None:
    """Return what is wrong with the file's write-ahead log.

    SQLite takes the first frame that does not fit for the end of what was written, and forgets
    whatever comes behind it without a word.
    """
    try:
        log = Log(path.with_name(f"{path.name}-wal").read_bytes())
    except FileNotFoundError:
        return None
    return log.trouble()


def aside(path: Path, now: datetime | None = None) -> Path:
    """Return a name beside `path` for what is damaged, one that is not taken."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    name = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while name.exists():
        number += 1
        name = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    return name


def set_aside(path: Path) -> Path:
    """Rename the file, with its log; return its name from now on. Raises `OSError`."""
    renamed = aside(path)
    for suffix in _SUFFIXES:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(renamed.with_name(renamed.name + suffix))
    return renamed


def damaged_files(path: Path) -> list[Path]:
    """Return what was set aside for the spool at `path` and not salvaged since."""
    found = path.parent.glob(f"{path.name}.damaged-*")
    return sorted(one for one in found if not one.name.endswith(_SUFFIXES[1:]))


class DamagedFiles:
    """Counts what was set aside for the spool at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = 0

    def count(self) -> int:
        """Return how many; as many as before where the directory cannot be read.

        What keeps it from being read, a disk or the lack of a descriptor, has metrics of its own,
        and they can be had only as long as this one stops nobody who asks for them all.
        """
        with contextlib.suppress(OSError):
            self._last = len(damaged_files(self._path))
        return self._last
