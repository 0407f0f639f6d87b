"""What completed runs have cost: summed up when they end and when that changes, and told."""

from collections.abc import Sequence
from typing import Any, Final

from psycopg import Cursor

from ledger.queries import query
from schemas.run_total import MOST_NAMED

_AT_ONCE: Final = 100


def claim(cursor: Cursor[Any], grace_seconds: float) -> Sequence[str]:
    """Take runs whose cost is to be looked at, for a minute; return their ids.

    Those that have just ended, so many seconds after the ledger was told so, and those to which
    something was added since they were told of. After a minute they are due again.
    """
    asked = {"limit": _AT_ONCE, "grace": grace_seconds}
    return [run_id for (run_id,) in cursor.execute(query("claim_due_runs"), asked)]


def sum_up(cursor: Cursor[Any], run_id: str) -> bool:
    """Keep what a completed run has cost, and have other teams told, if that is new to them.

    Returns False where its credits are more than an event can say: nothing is told then.
    """
    # The statement behind the lock sees whatever the lock had waited for.
    cursor.execute(query("lock_run"), {"run": run_id})
    asked = {"run": run_id, "named": MOST_NAMED}
    row = cursor.execute(query("sum_up_run"), asked).fetchone()
    return row is None or not row[0]
