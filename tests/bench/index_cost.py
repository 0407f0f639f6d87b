"""What an index costs each row that is written: CPU time of PostgreSQL, WAL and bytes of the index.

`lookups` and `spend` measure theirs with it.
"""

import secrets
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, LiteralString, NamedTuple

import psutil
import psycopg
from psycopg import sql

from tests.bench.processor import cpu_seconds
from tests.bench.services import POSTGRESQL
from tests.databases.database import choose_database, make_database, with_database

_BATCH: Final = 3_000
_MICROSECONDS: Final = 1_000_000

Line = Callable[[int], str]
"""A row by its number, as COPY reads it."""


class Cost(NamedTuple):
    """Of one row."""

    microseconds: float
    wal: float
    entry: float


def medians(
    url: str,
    columns: LiteralString,
    indexes: Mapping[str, LiteralString],
    line: Line,
    *,
    count: int,
    rounds: int,
) -> dict[str, Cost]:
    """Medians of each index by its name, without what the table costs that has `none` of them.

    Args:
        url: of a database that takes tables for a while.
        columns: of the table, behind the UUID that is its key.
        indexes: the statement that makes each, with `{}` for the table.
        line: the rows.
        count: rows of each table.
        rounds: in turn.
    """
    measured: dict[str, list[Cost]] = {kind: [] for kind in indexes}
    for _ in range(rounds):
        for kind, index in indexes.items():
            measured[kind].append(_cost(url, columns, index, line, count))
    median = {
        kind: Cost(*map(statistics.median, zip(*some, strict=True)))
        for kind, some in measured.items()
    }
    bare = median.pop("none")
    return {
        kind: Cost(one.microseconds - bare.microseconds, one.wal - bare.wal, one.entry)
        for kind, one in median.items()
    }


def tell(title: str, costs: Mapping[str, Cost]) -> None:
    """Print them, a line for each index."""
    print(title)
    for kind, one in costs.items():
        print(
            f"  {kind:28} {one.microseconds:7.2f} µs"
            f" {one.wal:7.0f} B of WAL {one.entry:6.0f} B of index"
        )


def _cost(url: str, columns: LiteralString, index: LiteralString, line: Line, count: int) -> Cost:
    """Copy rows into a table of their own, in batches."""
    table = sql.Identifier(f"rows_{secrets.token_hex(4)}")
    with psycopg.connect(url, autocommit=True) as connection:
        create = sql.SQL("CREATE TABLE {} (id uuid PRIMARY KEY, {})")
        connection.execute(create.format(table, sql.SQL(columns)))
        connection.execute(sql.SQL(index).format(table))
        connection.execute("CHECKPOINT")
        server = psutil.Process(connection.info.backend_pid)
        # The first change of a page after a checkpoint writes the whole page: not counted.
        _copy(connection, table, line, range(count // 4))
        before, began = _wal(connection), cpu_seconds(server)
        _copy(connection, table, line, range(count // 4, count))
        used, written = cpu_seconds(server) - began, _wal(connection) - before
        [[size]] = connection.execute(
            "SELECT pg_indexes_size(%s::regclass) - pg_relation_size((%s || '_pkey')::regclass)",
            [table.as_string(), table.as_string().strip('"')],
        ).fetchall()
        connection.execute(sql.SQL("DROP TABLE {}").format(table))
    rows = count - count // 4
    return Cost(used * _MICROSECONDS / rows, written / rows, size / count)


def _copy(
    connection: psycopg.Connection[Any], table: sql.Identifier, line: Line, numbers: range
) -> None:
    statement = sql.SQL("COPY {} FROM STDIN").format(table)
    for first in range(numbers.start, numbers.stop, _BATCH):
        part = range(first, min(first + _BATCH, numbers.stop))
        text = "".join(map(line, part))
        with connection.cursor().copy(statement) as into:
            into.write(text)


def _wal(connection: psycopg.Connection[Any]) -> float:
    [[position]] = connection.execute(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8"
    ).fetchall()
    return float(position)


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """URLs of databases by their collation: as bytes, and as people sort, where there is one."""
    database = make_database(choose_database(), POSTGRESQL)
    database.start()
    try:
        with psycopg.connect(database.url, autocommit=True) as admin:
            admin.execute("CREATE DATABASE bytes TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
            found = {"C": with_database(database.url, "bytes")}
            try:
                admin.execute(
                    "CREATE DATABASE people TEMPLATE template0 LOCALE_PROVIDER libc"
                    " LC_COLLATE 'en_US.UTF-8' LC_CTYPE 'en_US.UTF-8'"
                )
            except psycopg.errors.WrongObjectType:
                print(
                    "this machine has no locale en_US.UTF-8: LOCPATH may name a directory with it"
                )
            else:
                found["en_US.UTF-8"] = with_database(database.url, "people")
        yield found
    finally:
        database.stop()
        database.remove()
