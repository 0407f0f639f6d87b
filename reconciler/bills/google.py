"""Google Cloud's billing export to BigQuery, as JSON or as CSV of its columns.

A model is named by the beginning of a SKU's description: `Gemini 2.5 Flash GA Text Input -
Predictions`. Credits stand in a row beside its cost.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

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

_SERVICES: Final = ("vertex ai", "gemini", "generative language")
_METER: Final = re.compile(r"\b(input|output|caching|cache|cached|tokens?)\b", re.IGNORECASE)
_BEHIND_THE_MODEL: Final = re.compile(
    r"\s*(\bGA\b|\b(text|image|audio|video|document|thinking|reasoning|global|regional|batch|"
    r"priority|flex|long|input|output|caching|cache|cached|tokens?)\b|\().*",
    re.IGNORECASE,
)


def _items(row: Row) -> Iterator[Item]:
    day, amount = day_at(row, "usage_start_time"), amount_at(row, "cost")
    currency = currency_at(row, "currency")
    service, sku = text_at(row, "service_description"), text_at(row, "sku_description")
    kind = text_at(row, "cost_type") or "regular"
    if not service.lower().startswith(_SERVICES):
        yield Beside("other services of Google Cloud", day, amount, currency)
        return
    model = _BEHIND_THE_MODEL.sub("", sku).strip() if _METER.search(sku) else ""
    if kind != "regular":
        yield Beside(f"{kind} of {service}", day, amount, currency)
    elif model:
        yield Charge(model, day, amount, currency)
    else:
        yield Beside(f"{service}: {sku}", day, amount, currency)
    for credit in _credits(row):
        yield Beside(f"credits of {service}", day, amount_at(credit, "amount"), currency)


def _credits(row: Row) -> list[Any]:
    found = row.get("credits")
    if found in (None, ""):
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise LineError("credits is no list of credits")
    return found


EXPORT: Final = Format(
    "billing export of Google Cloud",
    frozenset({
        "service_description", "sku_description", "usage_start_time", "cost", "currency",
    }),
    ("vertex_ai", "gemini"),
    _items,
)  # fmt: skip
