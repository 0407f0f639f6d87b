"""What was spent, and what an account owes for a period: receipts and open deferrals together.

Each answer is of one moment of the ledger. Reads only. A call counts when it began; a receipt that
does not know that, as those from before migration 0012, when it ended.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import DictRow, dict_row

from ledger.address import connect
from ledger.queries import query
from runtime.rows import Row

NAMES: Final = ("account", "team", "key", "model", "provider", "day", "run", "agent")
"""By what spending can be told apart."""

_ROWS: Final = 2_000
"""How many receipts of a statement are held at a time."""


@dataclass(frozen=True, slots=True)
class Question:
    """Of which calls to tell, and by which of `NAMES`.

    Those that began from `since` on and before `until`, or ended then where `by_end`; of these
    accounts, teams, models and runs, where any are given.
    """

    by: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    by_end: bool = False
    accounts: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Spent:
    """Sums of receipts and counts of open deferrals, each by all names, in no order."""

    receipts: Sequence[Row]
    deferrals: Sequence[Row]


def spent(database_url: str, question: Question) -> Spent:
    """Return what was spent. Raises `LedgerError`."""
    asked = asdict(question) | {name: name in question.by for name in NAMES}
    with _moment(database_url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return Spent(
            cursor.execute(query("spend_receipts"), asked).fetchall(),
            cursor.execute(query("spend_deferrals"), asked).fetchall(),
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """The receipts of an account and a period, read as they are taken; what is open beside them.

    `receipts` can be gone through once.
    """

    names: Sequence[str]
    receipts: Iterator[Row]
    open_items: Mapping[str, int]


@contextmanager
def statement(
    database_url: str, account: str, since: datetime, until: datetime
) -> Iterator[Statement]:
    """Yield what an account owes for calls from `since` on and before `until`.

    Holds a few receipts at a time, however many there are. Raises `LedgerError`.
    """
    asked = {"account": account, "since": since, "until": until}
    with _moment(database_url) as connection:
        with connection.cursor(row_factory=dict_row) as cursor:
            [found] = cursor.execute(query("statement_open"), asked).fetchall()
        with connection.cursor("statement", row_factory=dict_row) as receipts:
            receipts.itersize = _ROWS
            receipts.execute(query("statement_receipts"), asked)
            names = [column.name for column in receipts.description or ()]
            yield Statement(names, _all(receipts), found)


def _all(receipts: Any) -> Iterator[DictRow]:  # noqa: ANN401 - a cursor of the server
    yield from receipts


@contextmanager
def _moment(database_url: str) -> Iterator[Connection[tuple[Any, ...]]]:
    with connect(database_url, "billing-spend") as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield connection
