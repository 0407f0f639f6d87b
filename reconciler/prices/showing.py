"""What `audit --prices` prints: a table for people, JSON or CSV for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import msgspec
import typer

from reconciler.prices.tripwire import Line, Tripwire, Verdict
from reconciler.printing import Form, show
from runtime.rows import Listing, cell, json_text

_NAMED: Final = 12
"""How many drifting models the last sentence names."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Receipts of some days that were computed again."""

    days: tuple[date, date]
    tripwire: Tripwire
    lines: Sequence[Line]

    def of(self, verdict: Verdict) -> list[Line]:
        """Return the models of a verdict."""
        return [line for line in self.lines if line.verdict is verdict]

    @property
    def drifts(self) -> bool:
        """Whether any model does."""
        return bool(self.of(Verdict.DRIFTS))

    @property
    def verdict(self) -> str:
        """The whole in a sentence."""
        drifting, unknown = self.of(Verdict.DRIFTS), self.of(Verdict.UNKNOWN)
        named = ", ".join(cell(line.model) for line in drifting[:_NAMED])
        more = f" and {len(drifting) - _NAMED} more" if len(drifting) > _NAMED else ""
        said = f"{len(drifting)} of {len(self.lines)} models drift"
        said += f": {named}{more}" if drifting else ""
        if unknown:
            said += f"; of {len(unknown)} the table has no price, so nothing is known of them"
        return said


def show_prices(checked: Checked, form: Form) -> None:
    """Print what was computed again; what is beside the lines of a CSV on the standard error."""
    lines = Listing(Line.__struct_fields__, [msgspec.structs.asdict(one) for one in checked.lines])
    if form is Form.JSON:
        typer.echo(json_text(_for_programs(checked, lines)))
        return
    beside = form is Form.CSV
    first, last = checked.days
    typer.echo(f"prices of {checked.tripwire.table.origin}; {first} to {last}\n", err=beside)
    show(lines, form)
    for why, count in sorted(checked.tripwire.left_out.items()):
        typer.echo(f"\nnot compared, {why}: {count} receipts", err=beside)
    typer.echo(f"\n{checked.verdict}", err=beside)


def _for_programs(checked: Checked, lines: Listing) -> dict[str, Any]:
    first, last = checked.days
    return {
        "prices": checked.tripwire.table.origin,
        "from": first,
        "through": last,
        "time zone": "UTC",
        "tolerance": msgspec.structs.asdict(checked.tripwire.tolerance),
        "drifting": len(checked.of(Verdict.DRIFTS)),
        "unknown": len(checked.of(Verdict.UNKNOWN)),
        "lines": list(lines.rows),
        "not_compared": checked.tripwire.left_out,
    }
