"""The costs of an Anthropic organization: the pages of its cost report, and the CSV of its console.

The report has amounts in cents, the CSV in US dollars.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from charging.money import times
from reconciler.bills.items import (
    Beside,
    Charge,
    Format,
    Item,
    LineError,
    Row,
    amount_at,
    currency_at,
    day_at,
    text_at,
)

_PROVIDERS: Final = ("anthropic",)
_CENT: Final = Decimal("0.01")


def _of_report(row: Row) -> Iterator[Item]:
    day = day_at(row, "starting_at")
    amount = times(amount_at(row, "amount"), _CENT)
    currency = currency_at(row, "currency")
    what = text_at(row, "description") or text_at(row, "cost_type")
    if model := text_at(row, "model"):
        yield Charge(model, day, amount, currency)
    elif what:
        yield Beside(what, day, amount, currency)
    else:
        raise LineError("it names neither a model nor what it is: group the report by description")


def _of_console(row: Row) -> Iterator[Item]:
    day, amount = day_at(row, "usage_date_utc"), amount_at(row, "cost_usd")
    if model := text_at(row, "model"):
        yield Charge(model, day, amount, "USD")
    else:
        what = text_at(row, "cost_type") or text_at(row, "usage_type") or "no model named"
        yield Beside(what, day, amount, "USD")


COST_REPORT: Final = Format(
    "cost report of Anthropic",
    frozenset({"starting_at", "amount", "currency", "model"}),
    _PROVIDERS,
    _of_report,
)
CONSOLE: Final = Format(
    "costs of Anthropic's console",
    frozenset({"usage_date_utc", "model", "cost_usd"}),
    _PROVIDERS,
    _of_console,
)
