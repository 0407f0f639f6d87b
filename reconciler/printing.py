"""What the reconciler's commands print: a table for people, JSON or CSV for programs."""

from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import msgspec
import typer

from reconciler.audit import Audit, Item, Line
from reconciler.passes import Outcome
from runtime.rows import Listing, cell, csv_text, json_text
from schemas.receipt import plain

LINES: Final = "lines"
CALLS: Final = "calls"


class Form(Enum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def show(listing: Listing, form: Form) -> None:
    """Print rows as a table or as CSV."""
    text = csv_text(listing) if form is Form.CSV else table_text(listing)
    typer.echo(text, nl=form is Form.TABLE)


def table_text(listing: Listing) -> str:
    """Return rows as people read them, a line each, below their names."""
    rows = [[_cell(row[name]) for name in listing.names] for row in listing.rows]
    heads = list(listing.names)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    numbers = [
        any(isinstance(row[name], int | Decimal) for row in listing.rows) for name in listing.names
    ]
    return "\n".join(_joined(one, widths, numbers) for one in [heads, *rows])


def _joined(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    padded = [
        text.rjust(width) if number else text.ljust(width)
        for text, width, number in zip(cells, widths, numbers, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _cell(value: object) -> str:
    return plain(value) if isinstance(value, Decimal) else cell(value)


def lines_of(audit: Audit) -> Listing:
    """Return the sums of an audit as rows."""
    return Listing(Line.__struct_fields__, [msgspec.structs.asdict(one) for one in audit.lines])


def calls_of(audit: Audit) -> Listing:
    """Return the calls of an audit that are to be looked at as rows."""
    return Listing(Item.__struct_fields__, [msgspec.structs.asdict(one) for one in audit.items])


def show_audit(audit: Audit, period: dict[str, Any], form: Form, table: str) -> None:
    """Print an audit: of CSV the table that is asked for, otherwise everything."""
    lines, calls = lines_of(audit), calls_of(audit)
    if form is Form.JSON:
        told = {
            **period,
            "balanced": audit.balanced,
            "faults": audit.faults,
            "contradicted": audit.contradicted,
            "unmatched_units": audit.unmatched_units,
            "lines": list(lines.rows),
            "calls": list(calls.rows),
            "calls_left_out": audit.items_left_out,
        }
        typer.echo(json_text(told))
        return
    if form is Form.CSV:
        show(calls if table == CALLS else lines, form)
        return
    show(lines, form)
    typer.echo(
        "\nseen: in the log and in the books. judged: the books keep nothing of such calls, so the "
        "consumer's own\nrules were asked about the callback that the row makes. What is in the "
        "dead-letter topic was not looked at."
    )
    if calls.rows:
        typer.echo("\ncalls to look at")
        show(calls, form)
    if audit.items_left_out:
        typer.echo(f"and {audit.items_left_out} more: raise --limit")
    typer.echo(f"\n{verdict_of(audit)}")


def verdict_of(audit: Audit) -> str:
    """Return in a sentence whether an audit balances."""
    if audit.balanced:
        return "it balances"
    return f"it does not balance: {audit.faults} calls to look at"


def told_of(outcome: Outcome) -> dict[str, Any]:
    """Return what a pass has come to, by names."""
    tally = outcome.tally
    return {
        "since": outcome.since,
        "until": outcome.until,
        "rows": tally.rows,
        "verdicts": dict(sorted(tally.verdicts.items())),
        "missing_usd": tally.missing_usd,
        "reposted": tally.reposted,
        "waiting": tally.waiting,
        "closed": tally.closed,
        "unmatched_units": [
            {name: unit[name] for name in ("unit_id", "run_id", "attempt", "litellm_call_id")}
            for unit in outcome.units
        ],
    }


def show_outcome(outcome: Outcome, form: Form) -> None:
    """Print what a pass has come to."""
    told = told_of(outcome)
    if form is Form.JSON:
        typer.echo(json_text(told))
        return
    verdicts = ", ".join(f"{count} {name}" for name, count in told["verdicts"].items())
    typer.echo(
        f"{cell(outcome.since)} to {cell(outcome.until)}: {outcome.tally.rows} rows"
        f"{': ' + verdicts if verdicts else ''}"
    )
    typer.echo(
        f"posted {outcome.tally.reposted} lost calls, {outcome.tally.waiting} wait for the receipt "
        f"of an earlier post, {outcome.tally.closed} findings closed"
    )
    for unit in told["unmatched_units"]:
        typer.echo(
            f"usage unit without receipt, deferral or row: {unit['unit_id']} of run "
            f"{unit['run_id']}/{unit['attempt']}, call {cell(unit['litellm_call_id'])}"
        )
