"""The ledger, read from outside with SELECT."""

from decimal import Decimal
from typing import Any, TypeAlias

import psycopg
from psycopg.rows import dict_row

Row: TypeAlias = dict[str, Any]

RECEIPTS = """
SELECT *, response_cost_usd::text AS cost_text, charged_usd::text AS charged_text
FROM billing.detailed_receipts r
WHERE {where} ORDER BY r.call_key
"""
DEFERRED = "SELECT * FROM billing.deferred_calls WHERE {where} ORDER BY call_key"
CONFLICTS = "SELECT * FROM billing.receipt_conflicts WHERE {where} ORDER BY call_key"
USAGE_UNITS = "SELECT * FROM billing.usage_units WHERE {where} ORDER BY unit_id"
TABLES = (
    "charge_receipts",
    "llm_charge_details",
    "former_charge_details",
    "deferred_calls",
    "receipt_conflicts",
    "usage_units",
)
CREDITS_PER_USD = 10_000_000


class Ledger:
    """One deployment's tables.

    Every method that takes columns gives the rows in which all of them have these values; None
    means NULL.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    def receipts(self, **columns: object) -> list[Row]:
        """Receipts with their details; amounts also as text, digit for digit."""
        return self._select(RECEIPTS, columns)

    def receipt(self, **columns: object) -> Row:
        """The only receipt that fits."""
        rows = self.receipts(**columns)
        assert len(rows) == 1, f"{len(rows)} receipts for {columns}"
        return rows[0]

    def deferred(self, **columns: object) -> list[Row]:
        """Deferred calls, open and resolved."""
        return self._select(DEFERRED, columns)

    def conflicts(self, **columns: object) -> list[Row]:
        """Callbacks that contradict a receipt."""
        return self._select(CONFLICTS, columns)

    def usage_units(self, **columns: object) -> list[Row]:
        """Usage units."""
        return self._select(USAGE_UNITS, columns)

    def snapshot(self) -> dict[str, list[str]]:
        """Every row of every table as text, sorted: equal when nothing at all changed."""
        with psycopg.connect(self._url) as connection:
            return {
                table: [
                    str(text)
                    for (text,) in connection.execute(
                        f"SELECT t::text FROM billing.{table} t ORDER BY 1"  # noqa: S608 - our names
                    )
                ]
                for table in TABLES
            }

    def _select(self, query: str, columns: dict[str, object]) -> list[Row]:
        where = " AND ".join(f"{name} IS NOT DISTINCT FROM %({name})s" for name in columns)
        with psycopg.connect(self._url, row_factory=dict_row) as connection:
            return connection.execute(
                query.format(where=where or "true").encode(),
                columns,
            ).fetchall()


def credits_for(amount_usd: str, markup: str = "1") -> int:
    """Credits for an amount: exact, rounded up once."""
    exact = Decimal(amount_usd) * Decimal(markup) * CREDITS_PER_USD
    return int(exact.to_integral_value(rounding="ROUND_CEILING"))
