"""Checkpoints: links of a chain over the seals of everything that was written."""

from typing import Any, Final

from psycopg import Cursor

from ledger.queries import query

_MOST_SEALS: Final = 20_000
"""In one checkpoint; what is left waits for the next."""


def checkpoint(cursor: Cursor[Any], seconds: float) -> bool:
    """Make a checkpoint of the seals that are in none, and have other teams told; say whether.

    None is made where no seal waits, or where the last one was made in so many seconds before.
    """
    # A snapshot from behind the lock sees what the one before has made.
    cursor.execute(query("lock_publisher"))
    asked = {"limit": _MOST_SEALS, "seconds": seconds}
    return bool(cursor.execute(query("make_checkpoint"), asked).rowcount)
