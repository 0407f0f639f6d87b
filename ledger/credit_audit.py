"""Whether the figures of credits are the sums of their rows. Asked in a transaction of its own."""

from typing import Any, Final, Literal

import msgspec
from psycopg import Cursor

from ledger.queries import query

_AUDITS: Final = (
    "audit_credit_balances",
    "audit_credit_holds",
    "audit_credit_receipts",
    "audit_credit_corrections",
)


class Imbalance(msgspec.Struct, frozen=True):
    """A figure of an account that is not the sum of its rows.

    Its `balance` against its entries, what is `held` against its open holds, the `debit` of a
    `batch` against the receipts of that batch, or an entry against the `correction` of a receipt.
    """

    billing_account_id: str
    figure: Literal["balance", "held", "debit", "correction"]
    batch: int | None
    stands: int
    should_be: int


class Undebited(msgspec.Struct, frozen=True):
    """Receipts that belong to no debit: mostly those from before there were credits."""

    receipts: int
    credits: int


def imbalances(cursor: Cursor[Any]) -> list[Imbalance]:
    """Return what does not add up. Raises `LedgerError`."""
    return [
        Imbalance(account, figure, batch, int(stands), int(should_be))
        for name in _AUDITS
        for account, figure, batch, stands, should_be in cursor.execute(query(name))
    ]


def undebited(cursor: Cursor[Any]) -> Undebited:
    """Return how many receipts belong to no debit, and their credits. Raises `LedgerError`."""
    found = cursor.execute(query("count_receipts_without_debit")).fetchone() or (0, 0)
    return Undebited(found[0], int(found[1]))
