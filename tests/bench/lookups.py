"""What a look-up by an id of strangers costs each row that is written: three kinds of index.

`python -m tests.bench.lookups`: CPU time of PostgreSQL, WAL and bytes of the index a row, for ids
that are all different, for one id that comes again and again, and for runs. No broker is needed.
"""

import secrets
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, LiteralString, NamedTuple
from uuid import uuid4

import psutil
import psycopg
import typer
from psycopg import sql

from tests.bench.services import POSTGRESQL
from tests.databases.database import choose_database, make_database, with_database

_BATCH: Final = 3_000
_MICROSECONDS: Final = 1_000_000
_RUNS: Final = 1_000
_INDEXES: Final[dict[str, LiteralString]] = {
    "none": "SELECT",
    "B-tree of the ids": "CREATE INDEX ON {} (name)",
    "hash index": "CREATE INDEX ON {} USING hash (name)",
    "B-tree of their hashes": "CREATE INDEX ON {} (hashtextextended(name, 0))",
}
_OF_RUNS: Final[dict[str, LiteralString]] = {
    "none": "SELECT",
    "B-tree": "CREATE INDEX ON {} (name)",
    'B-tree, COLLATE "C"': 'CREATE INDEX ON {} (name COLLATE "C")',
    "B-tree of their hashes": "CREATE INDEX ON {} (hashtextextended(name, 0))",
}


class Cost(NamedTuple):
    """Of one row."""

    microseconds: float
    wal: float
    entry: float


Names = Callable[[int], str]


def different(_: int) -> str:
    """An id as providers make them."""
    return f"chatcmpl-{secrets.token_hex(15)}"


def repeated(_: int) -> str:
    """One id that a client has chosen for all its calls."""
    return "00000000-0000-4000-8000-000000000000"


def runs(number: int) -> str:
    """The run of a call: a thousand of them share the calls."""
    return f"run-{number % _RUNS:04x}"


def cost(url: str, index: LiteralString, names: Names, count: int) -> Cost:
    """Copy `count` rows with a UUID for a key into a table of their own, in batches."""
    table = sql.Identifier(f"rows_{secrets.token_hex(4)}")
    with psycopg.connect(url, autocommit=True) as connection:
        create = "CREATE TABLE {} (id uuid PRIMARY KEY, name text NOT NULL)"
        connection.execute(sql.SQL(create).format(table))
        connection.execute(sql.SQL(index).format(table))
        connection.execute("CHECKPOINT")
        server = psutil.Process(connection.info.backend_pid)
        # The first change of a page after a checkpoint writes the whole page: not counted.
        _copy(connection, table, names, range(count // 4))
        before, began = _wal(connection), _cpu(server)
        _copy(connection, table, names, range(count // 4, count))
        used, written = _cpu(server) - began, _wal(connection) - before
        [[size]] = connection.execute(
            "SELECT pg_indexes_size(%s::regclass) - pg_relation_size((%s || '_pkey')::regclass)",
            [table.as_string(), table.as_string().strip('"')],
        ).fetchall()
        connection.execute(sql.SQL("DROP TABLE {}").format(table))
    rows = count - count // 4
    return Cost(used * _MICROSECONDS / rows, written / rows, size / count)


def _copy(
    connection: psycopg.Connection[Any], table: sql.Identifier, names: Names, numbers: range
) -> None:
    statement = sql.SQL("COPY {} FROM STDIN").format(table)
    for first in range(numbers.start, numbers.stop, _BATCH):
        part = range(first, min(first + _BATCH, numbers.stop))
        text = "".join(f"{uuid4()}\t{names(number)}\n" for number in part)
        with connection.cursor().copy(statement) as into:
            into.write(text)


def _wal(connection: psycopg.Connection[Any]) -> float:
    [[position]] = connection.execute(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8"
    ).fetchall()
    return float(position)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


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


def main(
    count: Annotated[int, typer.Argument(min=10_000, help="Rows in each table.")] = 200_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 3,
) -> None:
    """Print the medians, what the table costs without the index taken off."""
    cases: dict[str, tuple[Names, dict[str, LiteralString]]] = {
        "ids, all different": (different, _INDEXES),
        f"one id, {count:,} times": (repeated, _INDEXES),
        f"{_RUNS:,} runs": (runs, _OF_RUNS),
    }
    with servers() as urls:
        for collation, url in urls.items():
            for case, (names, indexes) in cases.items():
                measured: dict[str, list[Cost]] = {kind: [] for kind in indexes}
                for _ in range(rounds):
                    for kind, index in indexes.items():
                        measured[kind].append(cost(url, index, names, count))
                median = {
                    kind: Cost(*map(statistics.median, zip(*some, strict=True)))
                    for kind, some in measured.items()
                }
                bare = median.pop("none")
                print(f"{case}, collation {collation}")
                for kind, one in median.items():
                    print(
                        f"  {kind:24} {one.microseconds - bare.microseconds:7.2f} µs"
                        f" {one.wal - bare.wal:7.0f} B of WAL {one.entry:6.0f} B of index"
                    )


if __name__ == "__main__":
    typer.run(main)
