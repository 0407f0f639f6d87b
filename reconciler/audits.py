"""The command `audit`: the spend log, a provider's bill, or a price table, against the books."""

import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import sleep
from typing import Annotated, Final

import typer

from ledger.counted_receipts import counted_receipts
from ledger.model_days import model_days
from reconciler.bills.drift import Bill, Tolerance, compared
from reconciler.bills.items import BillError, LineError, amount_at, is_currency
from reconciler.bills.names import Names
from reconciler.bills.reading import read_all
from reconciler.bills.showing import Told, show_bill
from reconciler.parts import parts
from reconciler.prices.showing import Checked, show_prices
from reconciler.prices.table import TableError, load
from reconciler.prices.tripwire import Tripwire
from reconciler.printing import CALLS, LINES, Form, show_audit
from reconciler.terminal import (
    FAILURE,
    WRONG,
    Csv,
    Json,
    books,
    explained,
    fail,
    moment_option,
    settings_of,
)

EXAMPLES: Final = """\b
Examples:
  billing audit --from 2026-11-01 --to 2026-12-01
  billing audit --from 2026-11-01 --to 2026-12-01 --csv --table calls > calls.csv
  billing audit --provider-bill openai-costs.csv
  billing audit --provider-bill gcp.json --rate EUR=1.0843 --tolerance 5
  billing audit --provider-bill cur-1.csv.gz --provider-bill cur-2.csv.gz --json
  billing audit --provider-bill bill.csv --same-model "Nova Lite=nova-lite-v1:0"
  billing audit --prices --from 2026-11-01 --to 2026-12-01
  billing audit --price-table litellm-prices.json --from 2026-11-01 --to 2026-12-01
"""


def audit(
    *,
    since: Annotated[
        datetime | None, moment_option("--from", "Calls that began then or later")
    ] = None,
    until: Annotated[
        datetime | None,
        moment_option("--to", "Calls that began before: `2026-12-01` includes November"),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Most calls, or lines of a bill, listed.")
    ] = 10_000,
    table: Annotated[str, typer.Option(help=f"What --csv prints: {LINES} or {CALLS}.")] = LINES,
    provider_bill: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Compare this bill instead; repeatable for its parts."),
    ] = None,
    same_model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BILL=OURS", help="A name on the bill and LiteLLM's for it; repeatable."
        ),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(metavar="CUR=USD", help="US dollars for one of a currency; repeatable."),
    ] = None,
    prices: Annotated[
        bool, typer.Option("--prices", help="Compute receipts again from the pinned price table.")
    ] = False,
    price_table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The same from this table, in the form of LiteLLM's."),
    ] = None,
    tolerance: Annotated[
        str,
        typer.Option(metavar="PERCENT", help="How much a model's day, or a receipt, may differ."),
    ] = "2",
    tolerance_usd: Annotated[
        str,
        typer.Option(metavar="USD", help="How many US dollars a model's day, or a model, may."),
    ] = "0.01",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Compare what others say of calls with the books. Changes nothing.

    LiteLLM's spend log, with --from and --to: log rows = receipts + deferred + skipped + dead
    letters + missing, to the call id, and in money. Exit code 1: it does not balance.

    A provider's bill, with --provider-bill: by model and day of UTC, what OpenAI, Anthropic, AWS
    or Google Cloud charged against what LiteLLM said that the calls cost. The kind of export is
    told by its content; docs/finance.md says which are read. --from and --to are days here, all of
    the bill's unless given. Exit code 0: it agrees, 1: it drifts or has lines that cannot be read,
    2: it cannot be compared.

    A price table, with --prices or --price-table, --from and --to: each receipt is computed again
    from its tokens, and models whose cost is another are named. Nothing is billed by it. Exit code
    0: no model that the table knows drifts, 1: some do, 2: it cannot be compared.
    """
    form = _form(as_json=as_json, as_csv=as_csv)
    if since and until and until <= since:
        fail("the time ends before it begins: nothing is in it", WRONG)
    allowed = Tolerance(
        _amount("--tolerance", tolerance), _amount("--tolerance-usd", tolerance_usd)
    )
    if provider_bill:
        if prices or price_table:
            fail("--provider-bill and --prices are two questions: ask one", WRONG)
        bill = Bill(Names(_pairs(same_model or [])), _rates(rate or []), *_days(since, until))
        _bill(provider_bill, bill, allowed, form, limit)
        return
    if same_model or rate:
        fail("--same-model and --rate belong to --provider-bill", WRONG)
    if since is None or until is None:
        fail("--from and --to are needed, or --provider-bill", WRONG)
    if prices or price_table:
        _prices(since, until, price_table, allowed, form)
        return
    _spend_log(since, until, limit, form, table)


def _spend_log(since: datetime, until: datetime, limit: int, form: Form, table: str) -> None:
    if table not in {LINES, CALLS}:
        fail(f"--table is {LINES} or {CALLS}", WRONG)
    settings = settings_of(posts=False)
    with (
        explained(settings.reconciler_database_role),
        parts(settings, wait=sleep) as made,
    ):
        found = made.auditor.audit(since, until, limit)
    period = {"from": since, "to": until, "source": settings.source_system}
    show_audit(found, period, form, table)
    if not found.balanced:
        sys.exit(FAILURE)


def _bill(paths: Sequence[Path], bill: Bill, tolerance: Tolerance, form: Form, limit: int) -> None:
    settings = books()
    try:
        read = read_all(paths, bill.add)
        first, last = bill.period()
    except BillError as error:
        fail(str(error), WRONG)
    with explained("", WRONG):
        found = model_days(settings.database_url.get_secret_value(), first, last)
    lines = compared(bill, found.receipts, found.deferrals, read.format.providers, tolerance)
    told = Told(read, bill, (first, last), tolerance, lines, found.missing)
    show_bill(told, form, limit)
    if not told.agrees:
        sys.exit(FAILURE)


def _prices(
    since: datetime, until: datetime, path: Path | None, allowed: Tolerance, form: Form
) -> None:
    first, last = _day(since), _day(until) - timedelta(days=1)
    url = books().database_url.get_secret_value()
    try:
        tripwire = Tripwire(load(path), allowed)
    except TableError as error:
        fail(str(error), WRONG)
    with explained("", WRONG), counted_receipts(url, first, last) as receipts:
        tripwire.add(receipts)
    checked = Checked((first, last), tripwire, tripwire.lines())
    show_prices(checked, form)
    if checked.drifts:
        sys.exit(FAILURE)


def _form(*, as_json: bool, as_csv: bool) -> Form:
    if as_json and as_csv:
        fail("--json and --csv are two forms: choose one", WRONG)
    return Form.JSON if as_json else Form.CSV if as_csv else Form.TABLE


def _days(since: datetime | None, until: datetime | None) -> tuple[date | None, date | None]:
    """Return the first and the last day of a time, where there are any."""
    return since and _day(since), until and _day(until) - timedelta(days=1)


def _day(moment: datetime) -> date:
    """Return the day that a moment begins; ends with 2 where it begins none."""
    if moment.time() != datetime.min.time():
        fail("bills and prices go by days of UTC: --from and --to are days here", WRONG)
    return moment.date()


def _pairs(written: Sequence[str]) -> dict[str, str]:
    pairs = [text.rpartition("=")[::2] for text in written]
    if not all(bill.strip() and ours.strip() for bill, ours in pairs):
        fail('--same-model is BILL=OURS, such as "Nova Lite=nova-lite-v1:0"', WRONG)
    return dict(pairs)


def _rates(written: Sequence[str]) -> dict[str, Decimal]:
    rates = {}
    for text in written:
        currency, _, usd = text.partition("=")
        if not is_currency(currency) or currency.upper() == "USD":
            fail("--rate is CUR=USD, such as EUR=1.0843", WRONG)
        rates[currency.upper()] = _amount("--rate", usd)
        if not rates[currency.upper()]:
            fail("--rate is more than 0", WRONG)
    return rates


def _amount(option: str, text: str) -> Decimal:
    try:
        amount = amount_at({option: text}, option)
    except LineError as error:
        fail(str(error), WRONG)
    if amount < 0:
        fail(f"{option} is not below 0", WRONG)
    return amount
