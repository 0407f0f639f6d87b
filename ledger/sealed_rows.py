"""Sealed rows as the ledger has them now: verified, and sealed where they have no seal."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from psycopg import Connection

from ledger.address import connect
from ledger.queries import query
from ledger.seals import Kind, seal
from ledger.verification import (
    Problem,
    Seal,
    Verified,
    by_moment,
    compared,
    rows_of,
    verified_chain,
    verified_receipts,
)

_ROWS: Final = 2_000
"""How many rows are held at a time."""
_APPLICATION: Final = "billing-verify"


@contextmanager
def verification(
    database_url: str, published: Mapping[int, bytes], counted: Verified
) -> Iterator[Iterator[Problem]]:
    """Yield what is not as it was written: receipts first, then checkpoints, each in its order.

    It can be gone through once, and what was looked at is counted on the way. All is read as it was
    at one moment. `published` has hashes of checkpoints that somebody has kept, by number. Raises
    `LedgerError`.
    """
    with connect(database_url, _APPLICATION) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield _problems(connection, published, counted)


def _problems(
    connection: Connection[tuple[Any, ...]], published: Mapping[int, bytes], counted: Verified
) -> Iterator[Problem]:
    receipts = _read(connection, "receipts_to_verify")
    yield from verified_receipts(receipts, _seals(connection, "receipts"), counted)
    corrections = rows_of("corrections", _read(connection, "corrections_to_verify", id=None))
    counted.corrections = len(corrections)
    seals = list(_seals(connection, "corrections"))
    counted.seals += len(seals)
    yield from compared("corrections", corrections, seals)
    yield from verified_chain(_read(connection, "checkpoints_to_verify"), published, counted)


def _seals(connection: Connection[tuple[Any, ...]], kind: Kind) -> Iterator[Seal]:
    return (Seal(*row) for row in _read(connection, "seals_to_verify", kind=kind))


def _read(
    connection: Connection[tuple[Any, ...]], name: str, **asked: object
) -> Iterator[Sequence[Any]]:
    with connection.cursor(name, binary=True) as cursor:
        cursor.itersize = _ROWS
        yield from cursor.execute(query(name), asked)


def adopt(database_url: str, person: str) -> int:
    """Seal each receipt that has no seal, as it is now, and return how many; in one transaction.

    The seals say who did that. Raises `LedgerError`.
    """
    adopted = 0
    with connect(database_url, _APPLICATION) as connection, connection.cursor() as writer:
        receipts = _read(connection, "receipts_to_verify")
        for written_at, rows, seals in by_moment(receipts, _seals(connection, "receipts")):
            if not seals:
                digests = [row.digest for row in rows_of("receipts", rows)]
                seal(writer, "receipts", digests, written_at, person)
                adopted += len(digests)
    return adopted
