"""Rows as a command prints them: a table for people, JSON or CSV for programs."""

import sys
from decimal import Decimal
from enum import Enum
from typing import Annotated, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from operator_cli.terminal import err, fail, out
from runtime.rows import Listing, Row, cell, csv_text, json_text

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]

MOST_ROWS: Final = 2**31 - 1
"""Beyond it PostgreSQL would refuse the number, and not the command."""
MostRows = Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="Most rows.")]
BeforeId = Annotated[
    int | None, typer.Option(max=2**63 - 1, help="Only those with an id below this.")
]


class Form(Enum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def form_of(*, as_json: bool, as_csv: bool) -> Form:
    """Return the form that the options ask for; ends the command with 2 where they are two."""
    if as_json and as_csv:
        fail("--json and --csv are two forms: choose one", 2)
    return Form.JSON if as_json else Form.CSV if as_csv else Form.TABLE


def show(title: str, listing: Listing, form: Form) -> None:
    """Print rows on the standard output: under `title` where people read them."""
    match form:
        case Form.JSON:
            show_json(list(listing.rows))
        case Form.CSV:
            sys.stdout.write(csv_text(listing))
        case Form.TABLE:
            out.print(_table(title, listing) if listing.rows else f"[bold]{title}[/]: none")


def tell(sentence: str, row: Row, form: Form) -> None:
    """Print what a command did: a sentence for people, a row for programs."""
    if form is Form.TABLE:
        out.print(sentence, markup=False)
    else:
        show("", Listing(tuple(row), [row]), form)


def show_json(told: object) -> None:
    """Print anything as JSON."""
    # Not through the table's console, which would wrap it.
    typer.echo(json_text(told))


def remark(text: str, form: Form) -> None:
    """Say something beside the rows: where programs read those, on the standard error."""
    (out if form is Form.TABLE else err).print(text, markup=False)


def _table(title: str, listing: Listing) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in listing.names:
        number = any(isinstance(row[name], int | Decimal) for row in listing.rows)
        table.add_column(name, justify="right" if number else "left", no_wrap=number)
    for row in listing.rows:
        # Text, not markup: names come from strangers and may hold square brackets.
        table.add_row(*(Text(cell(row[name])) for name in listing.names))
    return table
