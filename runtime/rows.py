"""Rows for programs and spreadsheets: JSON and CSV, and text that a terminal may show. Pure."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias

from schemas.receipt import plain

Row: TypeAlias = Mapping[str, Any]
"""By the names of what is shown; all rows of a table have the same names."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows, and the names that each of them has: those are known where no row is, too."""

    names: Sequence[str]
    rows: Sequence[Row]


_FORMULA: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a spreadsheet takes for the beginning of a formula."""
_NUMBER: Final = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")


def json_text(told: object) -> str:
    """Return anything as JSON: amounts as text in plain notation, times in ISO 8601 and UTC.

    A length of time is its seconds. All of it is ASCII: nothing acts on a terminal.
    """
    return json.dumps(told, default=_for_programs, indent=2)


def json_line(told: object) -> str:
    """Return the same on one line."""
    return json.dumps(told, default=_for_programs)


def csv_text(listing: Listing) -> str:
    """Return rows as CSV (RFC 4180): a line of names, whether or not any row follows.

    Values are whole. A text that begins like a formula gets an apostrophe before it, which
    spreadsheets do not show: whatever a stranger wrote, it is computed nowhere.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(listing.names)
    writer.writerows([csv_cell(row[name]) for name in listing.names] for row in listing.rows)
    return text.getvalue()


def csv_cell(value: object) -> str:
    """Return a value as a cell of CSV. Numbers stay numbers, negative ones too."""
    match value:
        case None:
            return ""
        case datetime() | timedelta() | Decimal():
            return str(_for_programs(value))
        case list():
            return csv_cell(" ".join(map(cell, value)))
        case str():
            harmless = not value.startswith(_FORMULA) or _NUMBER.fullmatch(value)
            return printable(value) if harmless else f"'{printable(value)}"
    return str(value)


def cell(value: object) -> str:
    """Return a value as people read it in a table."""
    match value:
        case None:
            return ""
        case Decimal():
            return plain(value)
        case timedelta():
            return str(timedelta(seconds=round(value.total_seconds())))
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        case list():
            return " ".join(map(cell, value))
    return printable(str(value))


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


def _for_programs(value: object) -> object:
    match value:
        case Decimal():
            return plain(value)
        case datetime():
            return value.astimezone(UTC).isoformat()
        case timedelta():
            return round(value.total_seconds())
    return str(value)
