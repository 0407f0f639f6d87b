"""Holds as people list them. Asked in a transaction of the caller's."""

from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from psycopg import Cursor

from ledger.queries import query

Place: TypeAlias = tuple[datetime, UUID]
"""Where a page of the listing ended: `created_at` and `id` of its last hold."""


class HoldRow(msgspec.Struct, frozen=True):
    """A hold as it stands. `captured` is what its receipt charged."""

    id: UUID
    billing_account_id: str
    litellm_call_id: str
    amount: int
    state: str
    run_id: str | None
    attempt: int | None
    model: str | None
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    charge_receipt_id: UUID | None
    captured: int | None


def listed_holds(
    cursor: Cursor[Any], account: str | None, state: str | None, before: Place | None, limit: int
) -> list[HoldRow]:
    """Return holds, the newest first, from behind `before` on. Raises `LedgerError`."""
    created_at, hold = before or (None, None)
    asked = {"account": account, "state": state, "created_at": created_at, "id": hold}
    found = cursor.execute(query("list_credit_holds"), asked | {"limit": limit})
    return [HoldRow(*row) for row in found]
