"""Runs in the books: the accounts that executors have named for them."""

from collections.abc import Iterable
from typing import Any

from psycopg import Cursor

from ledger.payers import Run
from ledger.queries import listed, query


def accounts_of_runs(cursor: Cursor[Any], runs: Iterable[Run]) -> dict[Run, str]:
    """Return the accounts of those runs for which an executor has named one; the first counts."""
    asked = [{"run_id": run_id, "attempt": attempt} for run_id, attempt in runs]
    found = cursor.execute(query("find_accounts_of_runs"), {"runs": listed(asked)})
    return {(run_id, attempt): account for run_id, attempt, account in found}
