"""What the books hold of each model and day: receipts, open deferrals, calls that are missing.

Reads only, in one moment of the ledger.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from ledger.address import connect
from ledger.queries import query


class ModelDay(msgspec.Struct, frozen=True):
    """Calls of a model of a provider that began on a day of UTC.

    `cost_usd` is what LiteLLM said that they cost; of deferrals, what it may have suggested.
    """

    day: date
    provider: str | None
    model: str | None
    calls: int
    tokens: int
    cost_usd: Decimal


class MissingDay(msgspec.Struct, frozen=True):
    """Calls of a day that the spend log knows and the books do not, and the log's spend."""

    day: date
    calls: int
    cost_usd: Decimal


class ModelDays(msgspec.Struct, frozen=True):
    """All that the books hold of some days."""

    receipts: Sequence[ModelDay]
    deferrals: Sequence[ModelDay]
    missing: Sequence[MissingDay]


def model_days(database_url: str, first: date, last: date) -> ModelDays:
    """Return what the books hold of the days from `first` to `last`. Raises `LedgerError`."""
    asked = {"first": first, "last": last}
    with connect(database_url, "billing-audit") as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return ModelDays(
            [_of(row) for row in connection.execute(query("model_days_receipts"), asked)],
            [_of(row) for row in connection.execute(query("model_days_deferrals"), asked)],
            [MissingDay(*row) for row in connection.execute(query("missing_days"), asked)],
        )


def _of(row: tuple[Any, ...]) -> ModelDay:
    day, provider, model, calls, tokens, cost_usd = row
    # A sum of numbers that clients may choose has no largest one, and is numeric.
    return ModelDay(day, provider, model, calls, int(tokens), cost_usd)
