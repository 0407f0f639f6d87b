"""Receipts whose runs are looked for among those that have ended, against receipts alone."""

from typing import Final

import psycopg

from tests.bench.figures import Comparison, Target
from tests.bench.paired_drains import compared, paired
from tests.bench.payloads import REDACTED, Payloads
from tests.bench.services import Services
from tests.bench.sizes import Size

_LEAST: Final = 0.97
_ENDED: Final = 100_000
"""Runs that have ended, of which no callback here is."""


def measure(services: Services, size: Size) -> list[Comparison]:
    """Receipts a second that are written, with the triggers that note runs and without."""
    payloads = Payloads("runs", REDACTED)
    drains = paired(services, size, payloads, (_with_runs, _without), _check)
    names = "with ended runs", "receipts alone"
    return compared("consumer, ended runs, 4 kB", names, drains, Target(_LEAST))


def _with_runs(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO billing.completed_runs (run_id, completed_at)"
            " SELECT 'ended-' || number, now() FROM generate_series(1, %s) AS number",
            [_ENDED],
        )
        connection.execute("VACUUM ANALYZE billing.completed_runs")


def _without(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("DROP FUNCTION billing.note_changed_runs CASCADE")


def _check(url: str) -> None:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM billing.completed_runs WHERE revision > 0")
        if found.fetchone() != (0,):
            raise AssertionError("a run was summed up of which no callback is")
