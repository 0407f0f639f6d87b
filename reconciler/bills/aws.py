"""AWS Cost and Usage Reports, in the names of both their versions; models are those of Bedrock.

Amazon's and most other models are lines of the product AmazonBedrock, whose usage type begins with
a region and names the model: `USE1-NovaLite-input-tokens`. Models that are sold through the
Marketplace are products of their own: `Claude Sonnet 4.5 (Amazon Bedrock Edition)`.
"""

import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
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

_EDITION: Final = "(Amazon Bedrock Edition)"
_USAGE: Final = frozenset({"Usage", "DiscountedUsage", "SavingsPlanCoveredUsage"})
_REGION: Final = re.compile(r"[A-Z]{2,4}\d?-")
_METER: Final = re.compile(
    r"-(mantle-|global-|cross-region-|batch-|text-|image-|audio-|video-|speech-|cache-)*"
    r"(input|output|read|write)-"
)


def _items(row: Row) -> Iterator[Item]:
    day = day_at(row, "line_item_usage_start_date")
    amount = amount_at(row, "line_item_unblended_cost")
    currency = currency_at(row, "line_item_currency_code")
    kind = text_at(row, "line_item_line_item_type")
    product = _of_product(row, "product_name")
    if not (
        text_at(row, "line_item_product_code").startswith("AmazonBedrock") or _EDITION in product
    ):
        yield Beside("other services of AWS", day, amount, currency)
    elif kind not in _USAGE:
        yield Beside(f"{kind or 'no line item type'} of Bedrock", day, amount, currency)
    else:
        yield _used(row, product, day, amount, currency)


def _used(row: Row, product: str, day: date, amount: Decimal, currency: str) -> Item:
    usage = text_at(row, "line_item_usage_type")
    if _EDITION in product:
        return Charge(product.replace(_EDITION, "").strip(), day, amount, currency)
    if model := _of_product(row, "model"):
        return Charge(model, day, amount, currency)
    named = _REGION.sub("", usage, count=1)
    if meter := _METER.search(f"{named}-"):
        return Charge(named[: meter.start()], day, amount, currency)
    return Beside(f"Bedrock: {named}", day, amount, currency)


def _of_product(row: Row, name: str) -> str:
    """Return what a row says of its product, in a column of its own or in the map `product`."""
    if found := text_at(row, f"product_{name}"):
        return found
    written = text_at(row, "product")
    if not written:
        return ""
    try:
        said = json.loads(written)
    except (ValueError, RecursionError):
        raise LineError("product is no map in JSON") from None
    if not isinstance(said, dict):
        raise LineError("product is no map in JSON")
    return text_at(said, name)


REPORT: Final = Format(
    "Cost and Usage Report of AWS",
    frozenset({
        "line_item_usage_start_date", "line_item_product_code", "line_item_usage_type",
        "line_item_line_item_type", "line_item_unblended_cost", "line_item_currency_code",
    }),
    ("bedrock", "sagemaker"),
    _items,
)  # fmt: skip
