"""What was spent, and what an account owes for a period: receipts and open deferrals together.

Each answer is of one moment of the ledger. Reads only. A call counts when it began; a receipt that
does not know that, as those from before migration 0012, when it ended.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import DictRow, dict_row

from ledger.address import connect
from ledger.queries import query
from runtime.rows import Row

NAMES: Final = ("account", "team", "key", "model", "provider", "day", "run", "agent")
"""By what spending can be told apart."""

_BOUNDS: Final = (
    "first_day", "before_day", "started_since", "started_until", "ended_since", "ended_until",
)  # fmt: skip
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
    with _moment(database_url) as connection:
        return ask(connection, question)


def ask(connection: Connection[Any], question: Question) -> Spent:
    """Return what was spent, asked in a transaction of the caller's. Raises `LedgerError`."""
    asked = asdict(question) | _bounds(question) | {name: name in question.by for name in NAMES}
    with connection.cursor(row_factory=dict_row) as cursor:
        [hashes] = cursor.execute(query("hash_names"), asked).fetchall()
        return Spent(
            cursor.execute(query("spend_receipts"), asked | hashes).fetchall(),
            cursor.execute(query("spend_deferrals"), asked).fetchall(),
        )


def _bounds(question: Question) -> dict[str, date | None]:
    """Return the period as days, and as times where these say more than the days."""
    since = question.since and question.since.astimezone(UTC)
    until = question.until and question.until.astimezone(UTC)
    if question.by_end:
        times = {"ended_since": since, "ended_until": until}
        return {**dict.fromkeys(_BOUNDS), **times}
    starts = since is None or since.time() == time.min
    ends = until is None or until.time() == time.min
    return {
        **dict.fromkeys(_BOUNDS),
        "first_day": since and since.date(),
        "before_day": until and (until.date() if ends else until.date() + timedelta(days=1)),
        "started_since": None if starts else since,
        "started_until": None if ends else until,
    }


@dataclass(frozen=True, slots=True)
class Statement:
    """The receipts of an account and a period, read as they are taken; what is open beside them.

    `receipts` can be gone through once.
    """

    names: Sequence[str]
    receipts: Iterator[Row]
    open_items: Mapping[str, int]


@contextmanager
def statement(database_url: str, account: str, first: date, before: date) -> Iterator[Statement]:
    """Yield what an account owes for calls that began on the day `first` or later, before `before`.

    Holds a few receipts at a time, however many there are. Raises `LedgerError`.
    """
    asked = {"account": account, "first_day": first, "before_day": before}
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
