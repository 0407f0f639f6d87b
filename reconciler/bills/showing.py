"""What `audit --provider-bill` prints: a table for people, JSON or CSV for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import msgspec
import typer

from charging.money import summed
from ledger.model_days import MissingDay
from reconciler.bills.drift import DRIFTING, BesideSum, Bill, Line, Tolerance
from reconciler.bills.reading import Read
from reconciler.printing import Form, show, table_text
from runtime.rows import Listing, cell, json_text

_MISSING: Final = "calls of the spend log without an answer in the books, of any model and provider"
_NAMED: Final = 12
"""How many drifting models and days the last sentence names."""


@dataclass(frozen=True, slots=True)
class Told:
    """A bill that was compared."""

    read: Read
    bill: Bill
    days: tuple[date, date]
    tolerance: Tolerance
    lines: Sequence[Line]
    missing: Sequence[MissingDay]

    @property
    def drifting(self) -> list[Line]:
        """The models and days that are to be looked at."""
        return [line for line in self.lines if line.verdict in DRIFTING]

    @property
    def agrees(self) -> bool:
        """Whether all of the bill was read, and none of it drifts."""
        return not (self.drifting or self.read.unread)

    @property
    def verdict(self) -> str:
        """The whole in a sentence or two."""
        said = []
        if unread := len(self.read.unread):
            said.append(f"{unread} of {self.read.lines} lines could not be read")
        if drifting := self.drifting:
            named = ", ".join(f"{cell(one.model)} on {one.day}" for one in drifting[:_NAMED])
            more = f" and {len(drifting) - _NAMED} more" if len(drifting) > _NAMED else ""
            said.append(f"{len(drifting)} of {len(self.lines)} drift: {named}{more}")
        return "; ".join(said) or f"all {len(self.lines)} agree"


def show_bill(told: Told, form: Form, limit: int) -> None:
    """Print a bill that was compared; what is beside the lines of a CSV on the standard error."""
    lines = Listing(Line.__struct_fields__, [msgspec.structs.asdict(one) for one in told.lines])
    if form is Form.JSON:
        typer.echo(json_text(_for_programs(told, lines, limit)))
        return
    beside = form is Form.CSV
    first, last = told.days
    typer.echo(f"{told.read.format.name}, {first} to {last}, days of UTC\n", err=beside)
    show(lines, form)
    for title, listing in _tables(told, limit):
        typer.echo(f"\n{title}\n{table_text(listing)}", err=beside)
    if told.bill.outside:
        typer.echo(f"\n{told.bill.outside} items of other days were left out", err=beside)
    typer.echo(f"\n{told.verdict}", err=beside)


def _tables(told: Told, limit: int) -> list[tuple[str, Listing]]:
    sums = [msgspec.structs.asdict(one) for one in sorted_beside(told.bill)]
    missing = [msgspec.structs.asdict(one) for one in told.missing]
    unread = [{"where": where, "why": why} for where, why in told.read.unread]
    tables = [
        ("on the bill, and no use of a model: not compared", BesideSum.__struct_fields__, sums),
        (_MISSING, MissingDay.__struct_fields__, missing),
        (f"{len(unread)} lines that could not be read", ("where", "why"), unread),
    ]
    return [(title, Listing(names, rows[:limit])) for title, names, rows in tables if rows]


def sorted_beside(bill: Bill) -> list[BesideSum]:
    """Return what is beside the use of models, the largest amount first."""
    return sorted(bill.beside.values(), key=lambda one: (-one.provider_usd, one.what))


def _for_programs(told: Told, lines: Listing, limit: int) -> dict[str, Any]:
    first, last = told.days
    unread = told.read.unread
    return {
        "format": told.read.format.name,
        "from": first,
        "through": last,
        "time zone": "UTC",
        "tolerance": msgspec.structs.asdict(told.tolerance),
        "agrees": told.agrees,
        "drifting": len(told.drifting),
        "provider_usd": summed(one.provider_usd for one in told.lines),
        "ours_usd": summed(one.ours_usd for one in told.lines),
        "lines": list(lines.rows),
        "beside": [msgspec.structs.asdict(one) for one in sorted_beside(told.bill)],
        "missing": [msgspec.structs.asdict(one) for one in told.missing],
        "lines_read": told.read.lines,
        "outside": told.bill.outside,
        "unread_count": len(unread),
        "unread": [{"where": where, "why": why} for where, why in unread[:limit]],
    }
