"""The report: receipts, deferred calls and sums as tables in the terminal."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ledger.reports import rows_of
from schemas.receipt import plain

TABLES: Final[Mapping[str, tuple[str, str]]] = {
    "receipts": ("report_receipts", "The newest receipts"),
    "runs": ("report_runs", "Cost of each run and sub-agent"),
    "accounts": ("report_accounts", "Charged to each account"),
    "deferred": ("report_deferred", "Deferred calls that are still open"),
}


def _cell(value: object) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, timedelta):
        return str(timedelta(seconds=round(value.total_seconds())))
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%m-%d %H:%M:%S")
    return "" if value is None else printable(str(value))


def printable(text: str) -> str:
    """Return `text` without what a terminal would act on: such characters as their escapes."""
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter == "\n"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name, value in rows[0].items():
        number = isinstance(value, int | Decimal)
        table.add_column(name, justify="right" if number else "left", no_wrap=number)
    for row in rows:
        # Text, not markup: names come from strangers and may hold square brackets.
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    return table


def print_rows(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """Print `rows` as a table under `title`, or say that there are none."""
    console.print(_table(title, rows) if rows else f"[bold]{title}[/]: none")


def report(database_url: str, tables: list[str], limit: int, console: Console) -> None:
    """Print `tables` (keys of `TABLES`), `limit` rows each. Raises `LedgerError`."""
    for (_, title), rows in zip(
        (TABLES[name] for name in tables),
        rows_of(database_url, [TABLES[name][0] for name in tables], limit),
        strict=True,
    ):
        print_rows(console, title, rows)
