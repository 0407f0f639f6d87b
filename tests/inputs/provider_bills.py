"""Bills of providers, made up in the formats that these export. No line of them was ever charged.

A `Charged` names what the provider writes on the line: a line item, a model, a usage type, a SKU.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

EDITION: Final = " (Amazon Bedrock Edition)"


class Charged(NamedTuple):
    """A line: what is charged for, on which day, and how much, as text."""

    what: str
    day: str
    amount: str


def table(rows: Sequence[Mapping[str, object]], delimiter: str = ",") -> bytes:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def lines(values: Iterable[object]) -> bytes:
    """Values as JSON, one on each line."""
    return b"".join(dumped(value) + b"\n" for value in values)


def dumped(value: object) -> bytes:
    """A value as JSON; amounts as numbers, with all their digits."""
    amounts = list[str]()

    def number(amount: object) -> str:
        assert isinstance(amount, Decimal)
        amounts.append(str(amount))
        return f"@{len(amounts) - 1}@"

    text = json.dumps(value, default=number)
    for at, amount in enumerate(amounts):
        text = text.replace(f'"@{at}@"', amount)
    return text.encode()


def _seconds(day: str) -> int:
    return int(datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp())


def openai_dashboard(charged: Iterable[Charged], currency: str = "usd") -> bytes:
    """The CSV of OpenAI's dashboard; a day without a charge has a line as well."""
    rows = [
        {
            "start_time": _seconds(one.day),
            "end_time": _seconds(one.day) + 86_400,
            "start_time_iso": f"{one.day}T00:00:00+00:00",
            "end_time_iso": f"{one.day}T00:00:00+00:00",
            "amount_value": one.amount,
            "amount_currency": currency if one.amount else "",
            "line_item": one.what,
            "project_id": "",
            "organization_id": "org-made-up",
        }
        for one in charged
    ]
    return table(rows)


def openai_page(charged: Iterable[Charged], *, more: bool = False) -> dict[str, Any]:
    """An answer of OpenAI's costs API, a bucket for each charge."""
    buckets = [
        {
            "object": "bucket",
            "start_time": _seconds(one.day),
            "end_time": _seconds(one.day) + 86_400,
            "results": [
                {
                    "object": "organization.costs.result",
                    "amount": {"value": Decimal(one.amount), "currency": "usd"},
                    "line_item": one.what,
                    "project_id": None,
                    "api_key_id": None,
                    "quantity": None,
                }
            ],
        }
        for one in charged
    ]
    return {
        "object": "page",
        "data": buckets,
        "has_more": more,
        "next_page": "page_2" if more else None,
    }


def anthropic_page(charged: Iterable[Charged]) -> dict[str, Any]:
    """An answer of Anthropic's cost report; amounts are given in US dollars, it has cents."""
    return {"data": [_anthropic_bucket(one) for one in charged], "has_more": False}


def _anthropic_bucket(one: Charged) -> dict[str, Any]:
    end = date.fromisoformat(one.day) + timedelta(days=1)
    tokens = one.what.startswith("claude")
    return {
        "starting_at": f"{one.day}T00:00:00Z",
        "ending_at": f"{end}T00:00:00Z",
        "results": [
            {
                "currency": "USD",
                "amount": str(Decimal(one.amount) * 100),
                "workspace_id": None,
                "description": "Claude Usage - Input Tokens" if tokens else one.what,
                "cost_type": "tokens" if tokens else "web_search",
                "context_window": "0-200k" if tokens else None,
                "model": one.what if tokens else None,
                "service_tier": "standard" if tokens else None,
                "token_type": "uncached_input_tokens" if tokens else None,
            }
        ],
    }


def anthropic_console(charged: Iterable[Charged]) -> bytes:
    """The CSV of Anthropic's console."""
    rows = [
        {
            "usage_date_utc": one.day,
            "model": one.what,
            "workspace": "Default",
            "api_key": "made-up",
            "usage_type": "message",
            "context_window": "≤ 200k",
            "token_type": "input_no_cache",
            "cost_usd": one.amount,
            "cost_type": "token" if one.what else "web_search",
        }
        for one in charged
    ]
    return table(rows)


def aws_row(one: Charged, **other: str) -> dict[str, str]:
    """A line of AWS's report in the names of version 2.0; of the Marketplace by its edition."""
    sold = one.what.endswith(EDITION)
    return {
        "line_item_usage_start_date": f"{one.day}T07:00:00Z",
        "line_item_product_code": "1a2b3c4d5e6f" if sold else "AmazonBedrock",
        "line_item_usage_type": "USE1-MP:USE1_InputTokenCount-Units" if sold else one.what,
        "line_item_line_item_type": "Usage",
        "line_item_unblended_cost": one.amount,
        "line_item_currency_code": "USD",
        "product": json.dumps({"product_name": one.what if sold else "Amazon Bedrock"}),
        **other,
    }


LEGACY: Final = {
    "line_item_usage_start_date": "lineItem/UsageStartDate",
    "line_item_product_code": "lineItem/ProductCode",
    "line_item_usage_type": "lineItem/UsageType",
    "line_item_line_item_type": "lineItem/LineItemType",
    "line_item_unblended_cost": "lineItem/UnblendedCost",
    "line_item_currency_code": "lineItem/CurrencyCode",
}


def aws_legacy(rows: Iterable[Mapping[str, str]]) -> bytes:
    """The same lines in the names of the legacy report, where the product has columns."""
    return table(
        [
            {LEGACY[name]: row[name] for name in LEGACY}
            | {"product/ProductName": json.loads(row["product"])["product_name"]}
            for row in rows
        ]
    )


def google_row(one: Charged, currency: str = "USD", **other: object) -> dict[str, Any]:
    """A row of Google Cloud's export, as BigQuery writes it as JSON."""
    return {
        "billing_account_id": "000000-000000-000000",
        "service": {"id": "C7E2-9256-1C43", "description": "Vertex AI"},
        "sku": {"id": "FDAB-647C-5A22", "description": one.what},
        "usage_start_time": f"{one.day} 07:00:00 UTC",
        "usage_end_time": f"{one.day} 08:00:00 UTC",
        "cost": Decimal(one.amount),
        "currency": currency,
        "currency_conversion_rate": Decimal("0.92"),
        "cost_type": "regular",
        "credits": [],
        **other,
    }
