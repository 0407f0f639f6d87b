"""Other ways of writing the same finished rows: the limit and the naive ones. No Kafka, no rules.

The rows are those that the consumer wrote, read back in the order in which it read the callbacks.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, Self

import psycopg
from psycopg import sql

from consumer.settings import Settings

TABLE: Final = ("billing", "charge_receipts")
BATCH: Final[int] = Settings.model_fields["consumer_batch_records"].default
_SELECT: Final[LiteralString] = """
SELECT receipt.* FROM billing.charge_receipts AS receipt
ORDER BY receipt.kafka_partition, receipt.kafka_offset
"""


@dataclass(frozen=True)
class Rows:
    """Finished rows: as values, and as batches of binary COPY data."""

    values: list[tuple[Any, ...]]
    batches: list[bytes]
    whole: bytes

    @classmethod
    def of(cls, url: str) -> Self:
        """The rows of a ledger."""
        with psycopg.connect(url) as connection:
            receipts = connection.execute(_SELECT.encode()).fetchall()
            batches = [
                _copied(connection, start, BATCH) for start in range(0, len(receipts), BATCH)
            ]
            whole = _copied(connection)
        return cls(receipts, batches, whole)

    @property
    def count(self) -> int:
        """How many receipts."""
        return len(self.values)


def check(url: str, count: int) -> None:
    """Raise `RuntimeError` unless the ledger holds `count` receipts."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM billing.charge_receipts").fetchone()
    if row != (count,):
        raise RuntimeError(f"{row} receipts were written instead of {count}")


def copy(url: str, rows: Rows) -> float:
    """Receipts a second by COPY in the consumer's batches, each one committed."""
    return _copy(url, rows, rows.batches)


def copy_at_once(url: str, rows: Rows) -> float:
    """Receipts a second by one COPY and one commit for all."""
    return _copy(url, rows, [rows.whole])


def many(url: str, rows: Rows) -> float:
    """Receipts a second by `executemany`, in the consumer's batches, each one committed."""
    return _insert(url, rows, rows.count, BATCH)


def one_by_one(url: str, rows: Rows, count: int) -> float:
    """Receipts a second by one transaction a receipt, for the first `count`."""
    return _insert(url, rows, min(count, rows.count), 1)


def _copied(connection: psycopg.Connection[Any], start: int = 0, count: int | None = None) -> bytes:
    part = sql.SQL("OFFSET {} LIMIT {}").format(start, count)
    selected = sql.SQL(_SELECT)
    query = sql.SQL("COPY ({} {}) TO STDOUT (FORMAT binary)").format(selected, part)
    with connection.cursor().copy(query) as out:
        return b"".join(bytes(piece) for piece in out)


def _copy(url: str, rows: Rows, batches: Sequence[bytes]) -> float:
    statement = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(*TABLE))
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        for batch in batches:
            with cursor.copy(statement) as into:
                into.write(batch)
            connection.commit()
        return rows.count / (time.perf_counter() - began)


def _insert(url: str, rows: Rows, count: int, batch: int) -> float:
    values = rows.values
    statement = sql.SQL("INSERT INTO {} VALUES ({}) ON CONFLICT DO NOTHING").format(
        sql.Identifier(*TABLE), sql.SQL(", ").join([sql.Placeholder()] * len(values[0]))
    )
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        for start in range(0, count, batch):
            if batch == 1:
                cursor.execute(statement, values[start])
            else:
                cursor.executemany(statement, values[start : start + batch])
            connection.commit()
        return count / (time.perf_counter() - began)
