"""The command `statement`: what an account owes for a month, receipt by receipt."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Final

import typer

from charging.money import summed
from ledger.spend import Statement
from ledger.spend import statement as taken
from operator_cli.checksum import Checksum
from operator_cli.period import Period, month_of
from operator_cli.tables import Csv, Form, Json, form_of, remark
from operator_cli.terminal import DATABASE, explained, out, settings
from runtime.rows import Row, cell, csv_cell, json_line

_SHOWN: Final = {
    "started": 23, "receipt": 36, "model": 24, "run": 24, "reason": 17, "charged USD": 24,
    "credits": 12,
}  # fmt: skip
"""What of a receipt people see, and how many characters it usually has."""


class Sums:
    """What an account owes by the receipts and corrections that have been added."""

    def __init__(self, account: str, month: str) -> None:
        self._cost = self._charged = self._credits = Decimal(0)
        self._corrected = Decimal(0)
        self._receipts = self._corrections = 0
        self._checksum = Checksum(account, month)

    def add(self, receipt: Row) -> None:
        """Add the next receipt or correction, in the order of the statement."""
        if receipt["correction"]:
            self._corrections += 1
            self._corrected = summed((self._corrected, receipt["credits"]))
        else:
            self._receipts += 1
        self._cost = summed((self._cost, receipt["cost USD"]))
        self._charged = summed((self._charged, receipt["charged USD"]))
        self._credits = summed((self._credits, receipt["credits"]))
        self._checksum.add(receipt)

    def told(self, found: Statement) -> Row:
        """Return the sums, and what is open beside them."""
        return {
            "receipts": self._receipts,
            "corrections": self._corrections,
            "corrected credits": self._corrected,
            "cost USD": self._cost,
            "charged USD": self._charged,
            "credits": self._credits,
            **found.open_items,
            "checksum": str(self._checksum),
        }


def statement(
    account: Annotated[str, typer.Argument(help="The account.")],
    month: Annotated[str, typer.Argument(help="A month of UTC, such as 2026-10.")],
    *,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show what an account owes for the calls that began in a month, receipt by receipt.

    The account owes the credits. Corrections that were made in the month stand among its receipts
    and are in the sums, whenever their receipts began. The checksum is of these rows: it stays the
    same as long as none is added, and anybody can compute it from the CSV (docs/finance.md says
    how). Open deferrals may still become receipts of the month; conflicts are callbacks that
    contradict one, and that nobody has decided.
    --csv prints the receipts, and the sums on the standard error.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    since, until = month_of(month)
    found = settings(DATABASE)
    sums = Sums(account, month)
    url = found.database_url.get_secret_value()
    if form is not Form.JSON:
        remark(f"statement of {cell(account)}: calls that began {Period(since, until)}", form)
    with explained(found), taken(url, account, since.date(), until.date()) as one:
        receipts = _added(one.receipts, sums)
        match form:
            case Form.JSON:
                _print_json({"account": account, "month": month, "time zone": "UTC"}, receipts)
            case Form.CSV:
                _print_csv(one.names, receipts)
            case Form.TABLE:
                _print_lines(receipts)
        told = sums.told(one)
    if form is Form.JSON:
        # What is known at the end comes at the end of the object.
        typer.echo(f'\n], "total": {json_line(told)}}}')
        return
    for name, value in told.items():
        remark(f"{name}: {cell(value)}", form)


def _added(receipts: Iterable[Row], sums: Sums) -> Iterator[Row]:
    for receipt in receipts:
        sums.add(receipt)
        yield receipt


def _print_csv(names: Sequence[str], receipts: Iterable[Row]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(names)
    writer.writerows([csv_cell(receipt[name]) for name in names] for receipt in receipts)


def _print_json(begin: Row, receipts: Iterable[Row]) -> None:
    """Print an object up to its list of receipts, a line each; the list stays open."""
    sys.stdout.write(f'{json.dumps(begin)[:-1]}, "receipts": [')
    for number, receipt in enumerate(receipts):
        sys.stdout.write(",\n" if number else "\n")
        sys.stdout.write(json_line(receipt))


def _print_lines(receipts: Iterable[Row]) -> None:
    """Print a line for each receipt: a table would have to know all of them for its widths."""
    out.print("  ".join(f"{name:{width}}" for name, width in _SHOWN.items()).rstrip(), markup=False)
    for receipt in receipts:
        cells = (f"{cell(receipt[name]):{width}}" for name, width in _SHOWN.items())
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
