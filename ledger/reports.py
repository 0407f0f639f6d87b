"""Reports: what the ledger says to people. Reads only."""

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg.rows import dict_row

from ledger.address import connect
from ledger.queries import query


def rows_of(
    database_url: str, reports: Sequence[str], limit: int
) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each report, `limit` at most, by the names of what is shown.

    `reports` are names of files of `sql/`. Raises `LedgerError`.
    """
    with (
        connect(database_url, "billing-report") as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        for name in reports:
            yield cursor.execute(query(name), {"limit": limit}).fetchall()
