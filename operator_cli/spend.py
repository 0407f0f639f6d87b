"""The command `spend`: what was spent in a period, by account, team, key, model, run, agent."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import typer

from ledger.spend import NAMES, Question, spent
from operator_cli.period import Period, moment_option, period_of
from operator_cli.spending import TREE, listing_of, total_of
from operator_cli.tables import Csv, Form, Json, form_of, remark, show, show_json
from operator_cli.terminal import DATABASE, explained, fail, settings
from runtime.rows import Listing, Row

_INDENT: Final = "  "


def spend(
    *,
    since: Annotated[
        datetime | None, moment_option("Calls that began then or later", "--from")
    ] = None,
    until: Annotated[
        datetime | None,
        moment_option("Calls that began before: `2026-11-01` includes October", "--to"),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help=f"Any of {', '.join(NAMES)}, with commas between; repeatable."),
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(help="Only this account; repeatable.")
    ] = None,
    team: Annotated[
        list[str] | None, typer.Option(help="Only this team, by its id; repeatable.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model; repeatable.")] = None,
    run: Annotated[list[str] | None, typer.Option(help="Only this run; repeatable.")] = None,
    by_end: Annotated[
        bool, typer.Option("--by-end", help="A call counts when it ended, not when it began.")
    ] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show what was spent in a period, and how many calls still have no receipt.

    A call counts when it began, as in LiteLLM's own reports; days are days of UTC. The invoice is
    the sum of the credits (10,000,000 to the dollar); open deferrals may still add to it. The last
    row of the table is the sum of the others; --csv has no such row. See docs/finance.md.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    names = _names(by or [])
    period = period_of(since, until)
    found = settings(DATABASE)
    question = Question(
        names, since, until, by_end, account or [], team or [], model or [], run or []
    )
    with explained(found):
        told = spent(found.database_url.get_secret_value(), question)
    listing = listing_of(names, told.receipts, told.deferrals)
    total = total_of(listing.rows)
    counted = "ended" if by_end else "began"
    if form is Form.JSON:
        show_json(_for_programs(names, period, counted, listing, total))
        return
    remark(f"calls that {counted} {str(period) or 'at any time'}; days are days of UTC", form)
    if form is Form.CSV:
        show("", listing if names else Listing(tuple(total), [total]), form)
    else:
        show("Spending", _with_total(names, listing, total), form)


def _names(by: Sequence[str]) -> tuple[str, ...]:
    """Return the names once each, as they were given; ends the command with 2 for another."""
    names = tuple(
        dict.fromkeys(name.strip() for some in by for name in some.split(",") if name.strip())
    )
    if unknown := [name for name in names if name not in NAMES]:
        fail(f"--by {', '.join(unknown)}: there are {', '.join(NAMES)}", 2)
    return names


def _for_programs(
    names: Sequence[str], period: Period, counted: str, listing: Listing, total: Row
) -> object:
    return {
        "from": period.since,
        "to": period.until,
        "time zone": "UTC",
        "calls that": counted,
        "by": list(names),
        "rows": [{name: row[name] for name in listing.names} for row in listing.rows],
        "total": total,
    }


def _with_total(names: Sequence[str], listing: Listing, total: Row) -> Listing:
    """Return the rows as people read them: sub-agents indented, and the sum at the end."""
    if not names:
        return Listing(tuple(total), [total])
    rows: list[Row] = [
        {**row, "agent": f"{_INDENT * row['depth']}{row['agent'] or '(itself)'}"}
        if "agent" in names
        else row
        for row in listing.rows
    ]
    last = dict.fromkeys(listing.names) | {names[0]: "total"} | dict(total)
    if "agent" in names:
        last |= dict.fromkeys(TREE)
    return Listing(listing.names, [*rows, last])
