"""The costs of an OpenAI organization: the pages of its costs API, and the CSV of its dashboard.

Both are grouped by line item, as nothing else on them names the model: `gpt-5-2025-08-07, cached
input`, `priority | gpt-5, output, long context`, `web search tool calls`.
"""

from collections.abc import Iterator
from typing import Final

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


def _items(row: Row) -> Iterator[Item]:
    line_item = text_at(row, "line_item")
    if not line_item and row.get("amount_value") in (None, ""):
        # A day on which nothing was charged.
        return
    if not line_item:
        raise LineError("it names no line item: group the export by line_item")
    day, amount = day_at(row, "start_time"), amount_at(row, "amount_value")
    currency = currency_at(row, "amount_currency")
    if model := _model(line_item):
        yield Charge(model, day, amount, currency)
    else:
        yield Beside(line_item, day, amount, currency)


def _model(line_item: str) -> str:
    """Return the model that a line item names, "" where it names none."""
    before, comma, _ = line_item.partition(",")
    words = before.rpartition("|")[2].split()
    return words[0] if words and (comma or len(words) == 1) else ""


COSTS: Final = Format(
    "costs of OpenAI",
    frozenset({"start_time", "amount_value", "amount_currency", "line_item"}),
    ("openai", "text-completion-openai"),
    _items,
)
