"""The consumer's rate into a ledger that holds millions of receipts, against an empty one."""

from contextlib import ExitStack
from typing import Any, Final

import psycopg
from psycopg import sql

from tests.bench.draining import Drained, drain, fill
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.payloads import Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size

_CHUNK: Final = 1_000_000
_OWN: Final = {
    "id": "md5('receipt ' || n)::uuid",
    "call_key": "md5('call ' || n) || '|chatcmpl-' || md5('response ' || n)",
    "litellm_call_id": "md5('call ' || n)",
    "response_id": "'chatcmpl-' || md5('response ' || n)",
    "run_id": "'run-' || n / 100",
    "kafka_offset": "-n",
}
"""Columns that differ from receipt to receipt; all others are those of a real receipt."""
_SAMPLES: Final = 12_000
"""Callbacks of which one receipt is multiplied; a drain takes some batches."""
_CONSTRAINTS: Final = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'billing'::regnamespace AND contype IN ('p', 'u', 'f')
    AND %(table)s::regclass IN (conrelid, confrelid)
ORDER BY contype <> 'f', conname
"""
_INDEXES: Final = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = %(table)s::regclass
"""
_TABLE: Final = "billing.charge_receipts"


def measure(services: Services, size: Size) -> list[Comparison]:
    """Callbacks a second into both, with callbacks of each round's own.

    No database is made or dropped between the rounds, which would write a checkpoint: the first
    change of a page after it writes the whole page. So the first round pays for most of them, as
    a server does after each of its own, and the later ones pay less and less.
    """
    into_grown, into_empty = list[Drained](), list[Drained]()
    with ExitStack() as stack:
        grown, *empties = (stack.enter_context(services.database()) for _ in range(1 + size.rounds))
        with services.topics() as prefix:
            fill(services, prefix, Payloads("sample"), _SAMPLES)
            drain(services, prefix, grown, _SAMPLES)
        grow(grown, size.grown_receipts)
        for number, empty in enumerate(empties):
            with services.topics() as prefix:
                fill(services, prefix, Payloads(f"growth {number}"), size.callbacks)
                into_empty.append(drain(services, prefix, empty, size.callbacks))
                into_grown.append(drain(services, prefix, grown, size.callbacks))
    what = f"growth: {size.grown_receipts:,} receipts in the table, 14 kB"
    return [
        Comparison(
            what,
            "callbacks/s",
            Figures("grown ledger", tuple(one.rate for one in into_grown)),
            Figures("empty ledger", tuple(one.rate for one in into_empty)),
            Target(0.9),
        ),
        Comparison(
            f"{what}: PostgreSQL",
            "CPU µs/callback",
            Figures("grown ledger", tuple(one.cpu.server for one in into_grown)),
            Figures("empty ledger", tuple(one.cpu.server for one in into_empty)),
        ),
        Comparison(
            f"{what}: consumer",
            "CPU µs/callback",
            Figures("grown ledger", tuple(one.cpu.process for one in into_grown)),
            Figures("empty ledger", tuple(one.cpu.process for one in into_empty)),
        ),
    ]


def grow(url: str, count: int) -> None:
    """Multiply a real receipt to `count`, each with ids of its own, and build the indexes anew.

    Raises `psycopg.Error` where the schema has changed so that this does not fit any more.
    """
    asked = {"table": _TABLE}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '1GB'")
        constraints = connection.execute(_CONSTRAINTS, asked).fetchall()
        for table, name, _ in constraints:
            _run(connection, "ALTER TABLE {} DROP CONSTRAINT {}", table, _quoted(name))
        indexes = connection.execute(_INDEXES, asked).fetchall()
        for name, _ in indexes:
            _run(connection, "DROP INDEX {}", name)
        for first in range(0, count, _CHUNK):
            _multiply(connection, first, min(first + _CHUNK, count))
        # Foreign keys came first, to be dropped; they need the keys that they point to.
        for table, name, definition in reversed(constraints):
            _run(
                connection, "ALTER TABLE {} ADD CONSTRAINT {} {}", table, _quoted(name), definition
            )
        for _, definition in indexes:
            _run(connection, "{}", definition)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _multiply(connection: psycopg.Connection[Any], first: int, end: int) -> None:
    described = connection.execute(f"SELECT * FROM {_TABLE} LIMIT 0".encode()).description or ()  # noqa: S608 - our names
    columns = [column.name for column in described]
    chosen = [f"{_OWN[name]} AS {name}" if name in _OWN else f"sample.{name}" for name in columns]
    statement = (
        f"INSERT INTO {_TABLE} SELECT {', '.join(chosen)} "  # noqa: S608 - our names
        f"FROM (SELECT * FROM {_TABLE} LIMIT 1) AS sample, generate_series({first + 1}, {end}) AS n"
    )
    connection.execute(statement.encode())


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def _run(connection: psycopg.Connection[Any], statement: str, *parts: str) -> None:
    """Execute a statement of the catalogue's own words."""
    connection.execute(statement.format(*parts).encode())
