"""Credits that are moved, and what is to be told of it on `billing.credits.v1`."""

import json
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from ledger.accounts import Movement
from ledger.credits import Credits
from tests.observers.topics import TopicRecord

TOPIC: Final = "billing.credits.v1"
GUARD: Final = "billing_guard"
THRESHOLDS: Final = (1_000, 100)


def grant(accounts: Credits, account: str, amount: int, reference: str) -> None:
    """Move credits: granted, or taken by a correction."""
    reason = "grant" if amount > 0 else "correction"
    movement = Movement(account, reason, reference, amount, "ann", "")  # type: ignore[arg-type]
    assert accounts.post(movement, "open").created


def waiting(url: str) -> list[tuple[Any, ...]]:
    """What waits to be published, in the order in which it happened."""
    with psycopg.connect(url) as admin:
        return admin.execute(
            "SELECT event_id::text, type, billing_account_id FROM billing.credit_events ORDER BY id"
        ).fetchall()


def told(records: Sequence[TopicRecord]) -> list[tuple[str, str, int | None]]:
    """Account, type and balance of each event."""
    values = [json.loads(record.value) for record in records]
    return [(one["billing_account_id"], one["type"], one["balance"]) for one in values]
