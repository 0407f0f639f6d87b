"""The gateway's spool as its keeper sees it: what waits in it for Kafka, and when it may go."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

_FILE = "spool.sqlite3"


def waiting(directory: Path) -> str:
    """Say in words what waits in the spool in `directory`; empty when nothing does.

    The gateway must have ended: it locks the file. A spool that cannot be read counts as one in
    which something waits.
    """
    file = directory / _FILE
    if aside := [*directory.glob(f"{_FILE}.damaged-*"), *directory.glob(f"{_FILE}.incoming-*")]:
        return f"{len(aside)} file(s) that were damaged, or salvaged and not taken yet,"
    if not file.exists():
        return ""
    try:
        with closing(sqlite3.connect(file, timeout=0)) as connection:
            query = "SELECT count(*), coalesce(sum(bytes), 0) FROM records"
            records, size = connection.execute(query).fetchone()
    except sqlite3.Error as error:
        return f"a spool that cannot be read ({error})"
    return f"{records:,} record(s), {size:,} bytes," if records else ""


def remove(directory: Path) -> None:
    """Delete the spool in `directory` unless something waits in it."""
    if not waiting(directory):
        shutil.rmtree(directory, ignore_errors=True)
