"""Checkpoints: links of a chain over the seals of everything that was written."""

from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import Cursor

from ledger.queries import query

_MOST_SEALS: Final = 20_000
"""In one checkpoint; what is left waits for the next."""


class Checkpoint(msgspec.Struct, frozen=True, gc=False):
    """A link: `hash` is made of the `previous` one and of `seals` seals of `records` rows."""

    number: int
    previous: bytes
    hash: bytes
    seals: int
    records: int
    made_at: datetime


def checkpoint(cursor: Cursor[Any]) -> Checkpoint | None:
    """Make a checkpoint of the seals that are in none; None where there are none.

    Whoever calls it makes sure that nobody else does at the same time: two would have one number,
    and PostgreSQL refuses the second.
    """
    row = cursor.execute(query("make_checkpoint"), {"limit": _MOST_SEALS}).fetchone()
    return Checkpoint(*row) if row else None
