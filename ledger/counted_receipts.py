"""Receipts with their tokens, to compute their cost again. Reads only."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec

from ledger.address import connect
from ledger.queries import query

_ROWS: Final = 2_000
"""How many receipts are held at a time."""


class CountedReceipt(msgspec.Struct, frozen=True, gc=False):
    """What a receipt says of its tokens, and what LiteLLM said that they cost."""

    call_key: str
    provider: str | None
    model: str | None
    charge_reason: str
    cost_source: str
    tokens_in: int | None
    tokens_out: int | None
    tokens_cached_in: int | None
    tokens_reasoning: int | None
    cost_usd: Decimal


@contextmanager
def counted_receipts(
    database_url: str, first: date, last: date
) -> Iterator[Iterator[CountedReceipt]]:
    """Yield the receipts of calls that began on the days from `first` to `last`, in no order.

    They can be gone through once; a part of them is held at a time. Raises `LedgerError`.
    """
    with connect(database_url, "billing-audit") as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        with connection.cursor("counted_receipts") as cursor:
            cursor.itersize = _ROWS
            asked = {"first": first, "last": last, "source": None}
            cursor.execute(query("counted_receipts"), asked)
            yield (CountedReceipt(*row) for row in cursor)
