"""The command `report`: receipts, deferred calls and sums, of a time, of accounts, of models."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

import typer

from ledger.reports import Choice, rows_of
from operator_cli.period import moment_option, period_of
from operator_cli.tables import (
    MOST_ROWS,
    Csv,
    Form,
    Json,
    form_of,
    remark,
    show,
    show_json,
)
from operator_cli.terminal import DATABASE, explained, fail, settings
from runtime.rows import Listing

TABLES: Final[Mapping[str, tuple[str, str]]] = {
    "receipts": ("report_receipts", "The newest receipts"),
    "runs": ("report_runs", "Cost of each run and sub-agent"),
    "accounts": ("report_accounts", "Charged to each account"),
    "deferred": ("report_deferred", "Deferred calls that are still open"),
}


def report(
    *,
    table: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(TABLES)}; repeatable.")
    ] = None,
    since: Annotated[
        datetime | None,
        moment_option("Calls that ended then or later", "--from"),
    ] = None,
    until: Annotated[
        datetime | None,
        moment_option("Calls that ended before: `2026-12-01` includes November", "--to"),
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(help="Only this account; repeatable.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="Most rows in a table.")] = 20,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show receipts, cost by run and sub-agent, sums by account, and open deferrals.

    --from and --to choose by when a call ended, not by when its receipt was written.
    --json prints one object with a list for each table; --csv needs exactly one --table.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    period = period_of(since, until)
    wanted = table or list(TABLES)
    if unknown := set(wanted) - TABLES.keys():
        fail(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}", 2)
    if form is Form.CSV and len(wanted) > 1:
        fail(f"--csv prints one table: add --table and one of {', '.join(TABLES)}", 2)
    found = settings(DATABASE)
    if account and "deferred" in wanted:
        wanted.remove("deferred")
        remark("deferred calls have no account yet: their table is left out", form)
    # One more than wanted tells whether there are more.
    choice = Choice(since, until, account or [], model or [], limit + 1)
    with explained(found):
        url = found.database_url.get_secret_value()
        told = dict(
            zip(wanted, rows_of(url, [TABLES[name][0] for name in wanted], choice), strict=True)
        )
    cut = [name for name, listing in told.items() if len(listing.rows) > limit]
    told = {name: Listing(one.names, one.rows[:limit]) for name, one in told.items()}
    if str(period):
        remark(f"calls that ended {period}", form)
    if form is Form.JSON:
        show_json({name: listing.rows for name, listing in told.items()})
    else:
        for name, listing in told.items():
            show(TABLES[name][1], listing, form)
    if cut:
        remark(f"there are more rows of {', '.join(cut)} than {limit}: raise --limit", form)
