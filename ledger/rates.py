"""Receipts to learn from what calls cost. Reads only. Raises `LedgerError`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

from psycopg import Connection, Cursor, sql

from charging.backtest import PastCall
from charging.estimate import Rates
from charging.learning import Learning, Sample, learn
from ledger.address import connect
from ledger.queries import query
from schemas.receipt import ChargeReason

_ROWS: Final = 2_000
"""How many receipts are held at a time."""
_DAY: Final = timedelta(days=1)
TAIL_PAGES: Final = 32_768
"""Of 8 kB: what a process that asks every few minutes may read of the receipts, the newest ones."""


def learned(
    database_url: str,
    role: str,
    since: datetime,
    until: datetime,
    *,
    calls: int,
    rules: Learning,
    pages: int | None = None,
) -> Mapping[str, Rates]:
    """Return the rates of each model of which enough calls ended from `since` on, before `until`.

    Args:
        database_url: where the ledger is.
        role: whom to act as after connecting; empty: the user of the URL.
        since: calls that ended then or later count.
        until: calls that ended before count.
        calls: most calls of a model that are read, the newest ones.
        rules: how rates are learned.
        pages: most pages of receipts that are read, the newest ones (`TAIL_PAGES`); None: all that
            the time has.
    """
    with _reading(database_url, role, "billing-rates") as connection:
        asked = {
            "first": _first(connection, pages),
            # A call that ended in the time may have begun the day before it.
            "first_day": (since.astimezone(UTC) - _DAY).date(),
            "since": since,
            "until": until,
            "calls": calls,
        }
        with connection.cursor("newest_calls") as cursor:
            cursor.itersize = _ROWS
            cursor.execute(query("newest_calls"), asked)
            found = (
                learn(model, (_sample(*row[1:]) for row in rows), rules)
                for model, rows in groupby(_all(cursor), lambda row: row[0])
            )
            return {rates.model: rates for rates in found if rates}


@contextmanager
def calls_in_order(
    database_url: str, since: datetime, until: datetime
) -> Iterator[Iterator[PastCall]]:
    """Yield customers' calls that began from `since` on, before `until`, in that order.

    Holds a few at a time, however many there are; they can be gone through once.
    """
    asked = {
        "first_day": since.astimezone(UTC).date(),
        "last_day": until.astimezone(UTC).date(),
        "since": since,
        "until": until,
    }
    with (
        _reading(database_url, "", "billing-estimate") as connection,
        connection.cursor("calls_in_order") as cursor,
    ):
        cursor.itersize = _ROWS
        cursor.execute(query("calls_in_order"), asked)
        yield (
            PastCall(
                model, account, started, ended, _sample(*rest), rest[-1] == ChargeReason.CACHE_HIT
            )
            for model, account, started, ended, *rest in _all(cursor)
        )


@contextmanager
def _reading(
    database_url: str, role: str, application: str
) -> Iterator[Connection[tuple[Any, ...]]]:
    with connect(database_url, application) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if role:
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
        yield connection


def _first(connection: Connection[tuple[Any, ...]], pages: int | None) -> str:
    if pages is None:
        return "(0,0)"
    [[first]] = connection.execute(query("find_tail"), {"pages": pages}).fetchall()
    return str(first)


def _sample(
    tokens_in: int | None,
    tokens_out: int | None,
    cost: Decimal,
    reason: str,
) -> Sample:
    free = reason == ChargeReason.FREE_MODEL
    return Sample(tokens_in or 0, tokens_out or 0, cost, free)


def _all(cursor: Cursor[Any]) -> Iterator[tuple[Any, ...]]:
    yield from cursor
