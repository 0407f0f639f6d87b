"""What it costs to ask what was spent, and what it costs to be able to ask.

`python -m tests.bench.spend indexes`: CPU time of PostgreSQL, WAL and bytes a row of each index
that could find the calls of an account or a team in a month. `python -m tests.bench.spend month`:
the month of one team in a ledger of ten million receipts. No broker is needed.
"""

import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, LiteralString, NamedTuple
from uuid import uuid4

import psutil
import psycopg
import typer
from psycopg import sql

from ledger.migration import migrate
from ledger.receipts import ReceiptWriter
from ledger.spend import Question, ask
from tests.bench.index_cost import Line, medians, servers, tell
from tests.bench.processor import cpu_seconds
from tests.bench.services import POSTGRESQL
from tests.bench.upgrade import batches
from tests.databases.database import choose_database, fresh_database, make_database
from tests.databases.writing import ROLE

app = typer.Typer(add_completion=False, help=__doc__)

_COLUMNS: Final = (
    "name text NOT NULL, began timestamptz, ended timestamptz NOT NULL, cost numeric NOT NULL,"
    " credits bigint NOT NULL"
)
_BEGAN: Final = datetime(2026, 10, 1, tzinfo=UTC)
_DAY: Final = "((coalesce(began, ended) AT TIME ZONE 'UTC')::date)"
_INDEXES: Final[dict[str, LiteralString]] = {
    "none": "SELECT",
    "name, start": "CREATE INDEX ON {} (name, began)",
    "hash of name, start": "CREATE INDEX ON {} (hashtextextended(name, 0), began)",
    "name, day of start": "CREATE INDEX ON {} (name, " + _DAY + ")",
    "hash of name, day of start": "CREATE INDEX ON {} (hashtextextended(name, 0), " + _DAY + ")",
    "name, start, amounts beside": "CREATE INDEX ON {} (name, began) INCLUDE (cost, credits)",
    "BRIN of day and end": "CREATE INDEX ON {} USING brin (" + _DAY + ", ended)",
}
Names = Callable[[int], str]


def teams(number: int) -> str:
    """One of a hundred teams or accounts; the proxy's ids of teams are UUIDs."""
    return f"5b24070c-07c1-4654-b4fa-975f772d{number % 100:04x}"


def end_users(_: int) -> str:
    """An account that has hardly any other call."""
    return f"user-{secrets.token_hex(12)}"


def line_of(names: Names) -> Line:
    """Rows of a key, such a name, start, end and amounts."""
    return lambda number: (
        f"{uuid4()}\t{names(number)}\t{_at(number)}\t{_at(number + 9)}\t0.000036\t360\n"
    )


def _at(number: int) -> str:
    """Twenty calls a second."""
    return (_BEGAN + timedelta(seconds=number / 20)).isoformat()


@app.command()
def indexes(
    count: Annotated[int, typer.Argument(min=10_000, help="Rows in each table.")] = 200_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 3,
) -> None:
    """Print the medians, what the table costs without the index taken off."""
    with servers() as urls:
        for collation, url in urls.items():
            for case, names in {"a hundred names": teams, "all different": end_users}.items():
                costs = medians(url, _COLUMNS, _INDEXES, line_of(names), count=count, rounds=rounds)
                tell(f"{case}, collation {collation}", costs)


@app.command()
def month(
    count: Annotated[int, typer.Argument(min=100_000, help="Receipts of one year.")] = 10_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is asked.")] = 9,
) -> None:
    """Print how long the questions of one month take, in a year of receipts.

    A hundred teams share nine tenths of them, one team has the rest; a thousand accounts.
    """
    database = make_database(choose_database(), POSTGRESQL)
    database.start()
    try:
        with fresh_database(database.url) as url:
            migrate(url)
            began = time.perf_counter()
            grow(url, count)
            print(f"{count:,} receipts in {time.perf_counter() - began:.0f} s; {sizes(url, count)}")
            ask_all(url, rounds)
    finally:
        database.stop()
        database.remove()


_SINCE: Final = datetime(2026, 10, 1, tzinfo=UTC)
_UNTIL: Final = datetime(2026, 11, 1, tzinfo=UTC)
QUESTIONS: Final = {
    "one team of a hundred": Question(("team",), _SINCE, _UNTIL, teams=["team-42"]),
    "the same, by key and day": Question(("key", "day"), _SINCE, _UNTIL, teams=["team-42"]),
    "the team that has a tenth": Question(("team",), _SINCE, _UNTIL, teams=["team-large"]),
    "one account of a thousand": Question(("model",), _SINCE, _UNTIL, accounts=["account-42"]),
    "all teams": Question(("team",), _SINCE, _UNTIL),
    "all teams, by the end of calls": Question(("team",), _SINCE, _UNTIL, by_end=True),
}
_BEGAN_AT: Final = "timestamptz '2026-01-01Z' + n::float8 / %(count)s * interval '365 days'"
_VARIED: Final = {
    "id": "md5('receipt ' || n)::uuid",
    "call_key": "md5('call ' || n) || '|chatcmpl-' || md5('response ' || n)",
    "source_reference": "'run-' || n / 100 || '/0/' || md5('call ' || n)",
    "litellm_call_id": "md5('call ' || n)",
    "response_id": "'chatcmpl-' || md5('response ' || n)",
    "run_id": "'run-' || n / 100",
    "kafka_offset": "-n",
    "team_id": "CASE WHEN n %% 10 = 0 THEN 'team-large' ELSE 'team-' || n %% 1009 %% 100 END",
    "billing_account_id": "'account-' || n %% 1013 %% 1000",
    "started_at": _BEGAN_AT,
    "occurred_at": f"{_BEGAN_AT} + interval '9 s'",
}


def grow(url: str, count: int) -> None:
    """Multiply a receipt to `count`, spread over the year 2026 as they would have come."""
    with closing(ReceiptWriter(url, ROLE)) as ledger:
        for batch in batches("one", 10, 10):
            ledger.write(batch)
    with psycopg.connect(url, autocommit=True) as connection:
        columns = [
            name
            for (name,) in connection.execute(
                "SELECT attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
                " AND attrelid = 'billing.charge_receipts'::regclass ORDER BY attnum"
            )
        ]
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'billing'"
            " AND tablename = 'charge_receipts' AND indexname <> 'charge_receipts_pkey'"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(sql.SQL("DROP INDEX billing.{}").format(sql.Identifier(name)))
        connection.execute("SET synchronous_commit = off")
        chosen = ", ".join(_VARIED.get(name, f"sample.{name}") for name in columns)
        insert = (
            f"INSERT INTO billing.charge_receipts ({', '.join(columns)}) SELECT {chosen} FROM"  # noqa: S608 - our names
            " (SELECT * FROM billing.charge_receipts LIMIT 1) AS sample"
            " CROSS JOIN generate_series(%(first)s::int, %(last)s::int) AS n"
        )
        for first in range(1, count + 1, 500_000):
            part = {"first": first, "last": min(first + 499_999, count), "count": count}
            connection.execute(insert.encode(), part)
        connection.execute("SET maintenance_work_mem = '1GB'")
        for _, definition in indexes:
            connection.execute(definition.encode())
        connection.execute("VACUUM ANALYZE billing.charge_receipts")
        connection.execute("CHECKPOINT")


def sizes(url: str, count: int) -> str:
    """Bytes a receipt of each index of `0012`."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT indexrelname, pg_relation_size(indexrelid)::float8 FROM pg_stat_user_indexes"
            " WHERE relname = 'charge_receipts' AND indexrelname LIKE '%day%'"
        ).fetchall()
    return ", ".join(f"{name} {size / count:.1f} B" for name, size in found)


def ask_all(url: str, rounds: int) -> None:
    """Ask each question, over a new connection as the command does, and over one that has asked."""
    for title, question in QUESTIONS.items():
        fresh = [_asked(url, question, 1)[0] for _ in range(rounds)]
        again = _asked(url, question, rounds + 1)[1:]
        print(
            f"  {title:32} {again[0].calls:10,} calls  {_medians(fresh)}  again {_medians(again)}"
        )


class Asked(NamedTuple):
    """Calls that were found, milliseconds, and those of a processor that the session had."""

    calls: int
    wall: float
    cpu: float


def _asked(url: str, question: Question, times: int) -> list[Asked]:
    found = list[Asked]()
    began = time.perf_counter()
    with psycopg.connect(url) as connection:
        server = psutil.Process(connection.info.backend_pid)
        used = 0.0
        for _ in range(times):
            answer = ask(connection, question)
            took, cpu = time.perf_counter() - began, cpu_seconds(server)
            calls = sum(row["calls"] for row in answer.receipts)
            found.append(Asked(calls, took * 1_000, (cpu - used) * 1_000))
            began, used = time.perf_counter(), cpu
    return found


def _medians(some: Sequence[Asked]) -> str:
    wall, cpu = (statistics.median(column) for column in list(zip(*some, strict=True))[1:])
    return f"{wall:6.0f} ms ({cpu:.0f} of the session's CPU)"


if __name__ == "__main__":
    app()
