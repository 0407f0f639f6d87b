"""Runs that end, and what the ledger says that they have cost."""

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import dict_row

from charging.decision import decide
from charging.outcomes import Decided
from ledger.credit_events import CreditEvents
from tests.databases.writing import ROLE
from tests.inputs.callbacks import (
    ENDED,
    USAGE_UNITS,
    costing,
    decided,
    policy,
    record,
    usage_unit,
)

ENDED_AT = datetime.fromtimestamp(ENDED, UTC).isoformat()


def unit(run: str, **fields: object) -> Decided:
    """What an executor says of a call in a run, or of the run."""
    values = {"unit_id": str(uuid4()), "run_id": run, "finished_at": ENDED_AT, **fields}
    taken = record(json.dumps(usage_unit(**values)).encode(), topic=USAGE_UNITS)
    return Decided(taken, decide(taken, policy()))


def completed(run: str, **fields: object) -> Decided:
    """It says that the run has ended."""
    return unit(run, run_completed=True, **fields)


def call(
    run: str, name: str, cost: str = "0.25", *, markup: str = "1", **fields: object
) -> Decided:
    """A call of the run."""
    values = {
        "id": f"{run}-{name}",
        "litellm_call_id": f"{run}-{name}",
        "metadata": {"spend_logs_metadata": {"run_id": run}},
    }
    return decided(costing(cost, **(values | fields)), policy(markup=markup))


def sum_up(url: str, grace: float = 0) -> list[str]:
    """Sum up what is due; return the runs that were."""
    with closing(CreditEvents(url, ROLE)) as events:
        due = events.due_runs(grace)
        for run in due:
            assert events.sum_up_run(run)
        return sorted(due)


def totals(url: str) -> list[dict[str, Any]]:
    """What was told, in the order of runs and revisions."""
    with psycopg.connect(url, row_factory=dict_row) as admin:
        return admin.execute(
            "SELECT * FROM billing.run_totals ORDER BY run_id, revision"
        ).fetchall()


def make_due(url: str) -> list[str]:
    """Have time go on: what was noted is due. Return those runs."""
    with psycopg.connect(url) as admin:
        found = admin.execute(
            "UPDATE billing.completed_runs SET due_at = clock_timestamp()"
            " WHERE due_at < clock_timestamp() + interval '1 minute' RETURNING run_id"
        )
        return sorted(run for (run,) in found)
