"""The command `report`: receipts, deferred calls and sums, of a time, of accounts, of models."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from ledger.reports import Choice, rows_of
from operator_cli.tables import Csv, Form, Json, form_of, remark, show, show_json
from operator_cli.terminal import DATABASE, MOMENTS, explained, fail, settings

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
        typer.Option(
            "--from",
            formats=MOMENTS,
            help="Calls that ended at this moment or later; a day begins in UTC.",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            "--to",
            formats=MOMENTS,
            help="Calls that ended before this moment: `--to 2026-12-01` includes all of November.",
        ),
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(help="Only this account; repeatable.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows in a table.")] = 20,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show receipts, cost by run and sub-agent, sums by account, and open deferrals.

    --from and --to choose by when a call ended, not by when its receipt was written.
    --json prints one object with a list for each table; --csv needs exactly one --table.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
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
    choice = Choice(_utc(since), _utc(until), account or [], model or [], limit + 1)
    with explained(found):
        url = found.database_url.get_secret_value()
        told = dict(
            zip(wanted, rows_of(url, [TABLES[name][0] for name in wanted], choice), strict=True)
        )
    cut = [name for name, rows in told.items() if len(rows) > limit]
    told = {name: rows[:limit] for name, rows in told.items()}
    if form is Form.JSON:
        show_json(told)
    else:
        for name, rows in told.items():
            show(TABLES[name][1], rows, form)
    if cut:
        remark(f"there are more rows of {', '.join(cut)} than {limit}: raise --limit", form)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment
