"""Seals: a digest of each row that is written, by which `billing verify` finds what was changed.

A row's digest is the SHA-256 of its values in the order of the columns of `copy_receipts` (or of
`corrections_to_verify`), as MessagePack, behind the name of what it is. A seal has the digests
of all rows of a transaction, ordered, so that it does not matter in which order rows are read.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

import msgspec
from psycopg import Cursor

from ledger.queries import query
from schemas.receipt import plain

Kind: TypeAlias = Literal["receipts", "corrections"]

VERSION: Final = 1
"""Of the columns that are sealed and of how. Another one needs a way to read the former."""
ENTRY_BYTES: Final = 8
"""Of each digest that a seal keeps: enough to tell which row differs."""
_encode: Final = msgspec.msgpack.Encoder().encode
_PREFIXES: Final[dict[Kind, bytes]] = {"receipts": b"receipt1", "corrections": b"correction1"}
NUMBERS: Final[dict[Kind, tuple[int, ...]]] = {"receipts": (9, 10, 37), "corrections": (4, 6)}
"""Where a row has decimal numbers."""


def digest_of(kind: Kind, row: Sequence[Any]) -> bytes:
    """Return the digest of a row, 32 bytes: the same before it is written and when it is read.

    `row` has values as psycopg takes and gives them; times need a time zone.
    """
    for place in NUMBERS[kind]:
        text = str(row[place])
        # PostgreSQL gives a number back without an exponent above zero, and a zero without a sign.
        if "E+" in text or text[0] == "-":
            row = [*row[:place], Decimal(plain(row[place])), *row[place + 1 :]]
    return hashlib.sha256(_PREFIXES[kind] + _encode(row)).digest()


def seal_of(digests: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Return the digest of a seal, and its entries, from the digests of its rows in any order."""
    ordered = sorted(digests)
    entries = b"".join([digest[:ENTRY_BYTES] for digest in ordered])
    return hashlib.sha256(b"".join(ordered)).digest(), entries


def seal(
    cursor: Cursor[Any],
    kind: Kind,
    digests: Collection[bytes],
    written_at: datetime | None = None,
    person: str | None = None,
) -> None:
    """Seal the rows that this transaction writes; there is one at least.

    Rows that were written before have a moment, and a `person` who seals them as they are.
    """
    digest, entries = seal_of(digests)
    asked = {
        "kind": kind,
        "version": VERSION,
        "written_at": written_at,
        "person": person,
        "records": len(digests),
        "digest": digest,
        "entries": entries,
    }
    cursor.execute(query("insert_seal"), asked)
