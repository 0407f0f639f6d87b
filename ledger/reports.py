"""Reports: what the ledger says to people. Reads only."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from psycopg.rows import dict_row

from ledger.address import connect
from ledger.listing import listing_of
from ledger.queries import query
from runtime.rows import Listing


@dataclass(frozen=True, slots=True)
class Choice:
    """Of which calls a report tells.

    Those that ended from `since` on and before `until`, of these accounts and models, where any are
    given. `limit` is the most rows. Deferred calls have no account, and are told of any.
    """

    since: datetime | None = None
    until: datetime | None = None
    accounts: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    limit: int = 20


def rows_of(database_url: str, reports: Sequence[str], choice: Choice) -> Iterator[Listing]:
    """Yield the rows of each report, by the names of what is shown.

    `reports` are names of files of `sql/`. Raises `LedgerError`.
    """
    with (
        connect(database_url, "billing-report") as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        for name in reports:
            yield listing_of(cursor.execute(query(name), asdict(choice)))
