"""What a run has cost: sums by who made its calls, and its calls. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import dict_row

from ledger.address import connect
from ledger.queries import query
from runtime.rows import Row


@dataclass(frozen=True, slots=True)
class RunCosts:
    """The calls of a run, as of one moment of the ledger.

    `sums` are of receipts, by `agent`, `under` whom it worked, `model` where there is no agent, and
    `signature`; `open` counts the calls without a receipt by the same three. `calls` are the first
    of both, in the order of their ends; those without a receipt have no signature and no charge.
    `completion` is one row where the run has ended, with what other teams were told last.
    """

    sums: Sequence[Row]
    open: Sequence[Row]
    calls: Sequence[Row]
    completion: Sequence[Row] = ()


def costs_of(database_url: str, run_id: str, limit: int) -> RunCosts:
    """Return what a run has cost, with `limit` calls at most. Raises `LedgerError`."""
    asked = {"run": run_id, "limit": limit}
    with (
        connect(database_url, "billing-run") as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        names = ("run_sums", "run_open", "run_calls", "run_completion")
        return RunCosts(*(cursor.execute(query(name), asked).fetchall() for name in names))
