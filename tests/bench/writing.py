"""Other ways of writing the same finished rows: the limit and the naive ones. No Kafka, no rules.

The rows are those that the consumer wrote, read back in the order in which it read the callbacks.
They go into the tables of the first migration (`schema_0001.sql`), which stay as they are: a better
schema would make this quicker as well, and the ratio to it would tell nothing.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, LiteralString, Self

import psycopg
from psycopg import sql

from tests.bench.processor import MICRO, kept
from tests.bench.services import Services

SCHEMA: Final = Path(__file__).with_name("schema_0001.sql")
BATCH: Final = 3_000
"""Rows of a commit; frozen as well."""
TABLES: Final = (
    ("billing", "charge_receipts"),
    ("billing", "llm_charge_details"),
)
_RECEIPTS: Final[LiteralString] = """
SELECT receipt.id, source_system, call_key, litellm_call_id, response_id, source_reference, run_id,
    attempt, billing_account_id, response_cost_usd, charged_usd, charged_credits, cost_source,
    charge_reason, marks, content_hash, kafka_topic, kafka_partition, kafka_offset, occurred_at,
    created_at
FROM billing.charge_receipts AS receipt
ORDER BY receipt.kafka_partition, receipt.kafka_offset
"""
_DETAILS: Final[LiteralString] = """
SELECT detail.* FROM billing.charge_receipts AS receipt
JOIN billing.llm_charge_details AS detail ON detail.charge_receipt_id = receipt.id
ORDER BY receipt.kafka_partition, receipt.kafka_offset
"""
_SELECT: Final = (_RECEIPTS, _DETAILS)
"""From the ledger as it is now to the columns of the yardstick, in their order there."""


@dataclass(frozen=True)
class Rows:
    """Finished rows of both tables: as values, and as batches of binary COPY data."""

    values: tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]
    batches: list[tuple[bytes, bytes]]
    whole: tuple[bytes, bytes]

    @classmethod
    def of(cls, url: str) -> Self:
        """The rows of a ledger."""
        with psycopg.connect(url) as connection:
            receipts, details = (
                connection.execute(select.encode()).fetchall() for select in _SELECT
            )
            batches = [
                (_copied(connection, 0, start, BATCH), _copied(connection, 1, start, BATCH))
                for start in range(0, len(receipts), BATCH)
            ]
            whole = (_copied(connection, 0), _copied(connection, 1))
        return cls((receipts, details), batches, whole)

    @property
    def count(self) -> int:
        """How many receipts."""
        return len(self.values[0])


@dataclass(frozen=True)
class Written:
    """What a receipt with its details took: microseconds of CPU, bytes; and receipts a second."""

    rate: float
    client: float
    server: float
    wal: float
    tables: float

    @property
    def cpu(self) -> float:
        """Of client and server together."""
        return self.client + self.server


@contextmanager
def yardstick(services: Services) -> Iterator[str]:
    """An empty database with the tables of the first migration, dropped at the end."""
    with services.empty_database() as url:
        with psycopg.connect(url) as connection:
            connection.execute(SCHEMA.read_bytes())
        yield url


def measured(services: Services, rows: Rows, write: Callable[[str, Rows], float]) -> Written:
    """Write the rows into a yardstick of their own.

    Args:
        services: where.
        rows: to be written.
        write: `copy`, `copy_at_once` or `many`.

    Raises:
        RuntimeError: not every row was written.
        ElsewhereError: PostgreSQL is no process of this machine.
    """
    with yardstick(services) as url, psycopg.connect(url, autocommit=True) as connection:
        before, used = kept(connection), time.thread_time()
        rate = write(url, rows)
        # libpq works in the thread that calls it.
        client = time.thread_time() - used
        server = kept(connection) - before
        check(url, rows.count)
    each = 1 / rows.count
    return Written(
        rate, client * MICRO * each, server.cpu * MICRO * each, server.wal * each,
        server.tables * each,
    )  # fmt: skip


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
    """Receipts a second by one COPY a table and one commit for all."""
    return _copy(url, rows, [rows.whole])


def many(url: str, rows: Rows) -> float:
    """Receipts a second by `executemany`, in the consumer's batches, each one committed."""
    return _insert(url, rows, rows.count, BATCH)


def one_by_one(url: str, rows: Rows, count: int) -> float:
    """Receipts a second by one transaction a receipt, for the first `count`."""
    return _insert(url, rows, min(count, rows.count), 1)


def _copied(
    connection: psycopg.Connection[Any], table: int, start: int = 0, count: int | None = None
) -> bytes:
    part = sql.SQL("OFFSET {} LIMIT {}").format(start, count)
    selected = sql.SQL(_SELECT[table])
    query = sql.SQL("COPY ({} {}) TO STDOUT (FORMAT binary)").format(selected, part)
    with connection.cursor().copy(query) as out:
        return b"".join(bytes(piece) for piece in out)


def _copy(url: str, rows: Rows, batches: Sequence[tuple[bytes, bytes]]) -> float:
    statements = [
        sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(sql.Identifier(*table))
        for table in TABLES
    ]
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        for batch in batches:
            for statement, data in zip(statements, batch, strict=True):
                with cursor.copy(statement) as into:
                    into.write(data)
            connection.commit()
        return rows.count / (time.perf_counter() - began)


def _insert(url: str, rows: Rows, count: int, batch: int) -> float:
    statements = [
        sql.SQL("INSERT INTO {} VALUES ({}) ON CONFLICT DO NOTHING").format(
            sql.Identifier(*table), sql.SQL(", ").join([sql.Placeholder()] * len(values[0]))
        )
        for table, values in zip(TABLES, rows.values, strict=True)
    ]
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        for start in range(0, count, batch):
            for statement, values in zip(statements, rows.values, strict=True):
                if batch == 1:
                    cursor.execute(statement, values[start])
                else:
                    cursor.executemany(statement, values[start : start + batch])
            connection.commit()
        return count / (time.perf_counter() - began)
