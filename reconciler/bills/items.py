"""What a bill consists of, and how amounts and days on it are read. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from runtime.moments import moment_of
from runtime.rows import printable

Row: TypeAlias = Mapping[str, Any]
"""A line of a bill, by the names of its columns as `column_of` writes them."""

_AMOUNT: Final = re.compile(r"[-+]?(\d{1,15}(\.\d{0,60})?|\.\d{1,60})([eE][-+]?\d{1,2})?")
_MOST: Final = Decimal(10) ** 15
_SECONDS: Final = re.compile(r"\d{9,11}")
_CURRENCY: Final = re.compile(r"[A-Za-z]{3}")
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_LETTER: Final = re.compile(r"[^a-z0-9]+")
_SHOWN: Final = 60
"""Characters of what cannot be read that are shown."""


class BillError(Exception):
    """The file is no bill that can be compared; the text says what to do."""


class LineError(Exception):
    """One line of a bill cannot be read; the text says why."""


class Charge(msgspec.Struct, frozen=True):
    """What the provider charged for the use of a model, by its own name, on a day of UTC."""

    model: str
    day: date
    amount: Decimal
    currency: str


class Beside(msgspec.Struct, frozen=True):
    """What is on the bill and is no use of a model: a tax, a credit, another service."""

    what: str
    day: date
    amount: Decimal
    currency: str


Item: TypeAlias = Charge | Beside


class Format(msgspec.Struct, frozen=True):
    """A kind of export.

    `columns` are what tells it, `providers` the beginnings of what LiteLLM calls the provider.
    `items` reads a row and raises `LineError`; a row may hold nothing.
    """

    name: str
    columns: frozenset[str]
    providers: tuple[str, ...]
    items: Callable[[Row], Iterator[Item]]


def column_of(name: str) -> str:
    """Return a column's name in one writing: `lineItem/UsageType` is `line_item_usage_type`."""
    return _NO_LETTER.sub("_", _WORD.sub("_", name.strip()).lower()).strip("_")


def text_at(row: Row, name: str) -> str:
    """Return a text of a row, "" where there is none. Raises `LineError` where it is no text."""
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise LineError(f"{name} is {_shown(value)}, no text")
    return value.strip()


def amount_at(row: Row, name: str) -> Decimal:
    """Return an amount of a row, exactly. Raises `LineError` where it is none."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise LineError(f"{name} is {_shown(value)}, no amount")
    text = str(value).strip()
    if not _AMOUNT.fullmatch(text) or abs(amount := Decimal(text)) >= _MOST:
        raise LineError(f"{name} is {_shown(value)}, no amount")
    return amount


def is_currency(text: str) -> bool:
    """Whether a text is the code of a currency by its form."""
    return _CURRENCY.fullmatch(text) is not None


def currency_at(row: Row, name: str) -> str:
    """Return a currency of a row as three capitals. Raises `LineError` where it is none."""
    text = text_at(row, name)
    if not is_currency(text):
        raise LineError(f"{name} is {_shown(text)}, no currency such as USD")
    return text.upper()


def day_at(row: Row, name: str) -> date:
    """Return the day of UTC in which a time of a row is; without a zone it is UTC.

    Seconds since 1970 are a time as well. Raises `LineError` where it is none.
    """
    value = row.get(name)
    text = "" if isinstance(value, bool) else str(value).strip()
    try:
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(text), UTC).date()
        return moment_of(text.removesuffix(" UTC")).date()
    except (ValueError, OverflowError, OSError):
        raise LineError(f"{name} is {_shown(value)}, no time") from None


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return printable(text[:_SHOWN] + ("…" if len(text) > _SHOWN else ""))
