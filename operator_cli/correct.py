"""The commands `correct`: what a receipt charges is put right, and what wants to be."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from typer.core import TyperGroup

from charging.corrections import Wish
from charging.money import trimmed
from ledger.corrections import Corrected, Corrections, Said
from ledger.healing import LedgerError
from operator_cli.limits import By
from operator_cli.settings import Settings
from operator_cli.tables import Csv, Form, Json, MostRows, form_of, remark, show, tell
from operator_cli.terminal import DATABASE, decider, err, examples, explained, fail, settings
from operator_cli.undecided import COLUMNS, conflicts_of, twins_of
from runtime.rows import Listing, Row
from schemas.correction import CorrectionReason

_DAYS: Final = 92

AmountUsd = Annotated[
    str | None,
    typer.Option("--amount", help="What to add to the charge, US dollars; -0.05 takes from it."),
]
ToUsd = Annotated[
    str | None, typer.Option("--to", help="What the receipt is to charge, US dollars.")
]
Why = Annotated[CorrectionReason, typer.Option("--reason", help="Why the charge is wrong.")]
Reference = Annotated[
    str,
    typer.Option(help="What names the correction: with the same one it is made once."),
]


class ByReceipt(TyperGroup):
    """Commands of which one may be left out: what is none of them is a receipt to correct."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer keeps its type to itself
        """Put the command there that is left out."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["receipt", *args]
        return super().parse_args(ctx, args)


correct = typer.Typer(
    cls=ByReceipt,
    help="Correct what receipts charge: `billing correct RECEIPT --to USD ...`; list, open.",
    epilog=examples(
        "correct db64b3f1-ae5e-5409-bffb-353ec0f2da63 --to 0 --reason refund --by ada "
        "--reference ticket-12",
        "correct open",
        "correct list --account acme",
    ),
)


@correct.command(
    name="receipt",
    epilog=examples(
        "correct receipt db64b3f1-ae5e-5409-bffb-353ec0f2da63 --amount -0.05 --reason refund "
        '--reference ticket-12 --note "broken answer"',
        "correct receipt db64b3f1-ae5e-5409-bffb-353ec0f2da63 --to 0 --reason twin --by ada "
        "--reference twin-12 --json",
    ),
)
def receipt(
    name: Annotated[
        str, typer.Argument(metavar="RECEIPT", help="A receipt's id: `billing explain` shows it.")
    ],
    *,
    reason: Why,
    reference: Reference,
    amount: AmountUsd = None,
    to: ToUsd = None,
    by: By = "",
    note: Annotated[str, typer.Option(help="More of why; stored with it.")] = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Correct what a receipt charges; the receipt itself stays as it is.

    The correction counts in the month in which it is made, moves the credits of the account that
    were debited for the receipt, and is told to other teams. No receipt charges less than nothing.
    Of a twin or a conflict, an amount of 0 says that the receipt is right.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    if (amount is None) == (to is None):
        fail("say one of --amount and --to", 2)
    if not reference.strip():
        fail("a --reference is never empty: with the same one a correction is made once", 2)
    wish = Wish(reason, _usd(amount), _usd(to))
    said = Said(_id(name), wish, reference, decider(by), note)
    found = settings(DATABASE)
    with explained(found), corrections_at(found) as kept:
        try:
            done = kept.correct(said)
        except LedgerError:
            # Whether it was committed may not be known.
            err.print("to ask for it again, and not for a second one: the same --reference")
            raise
    _say(done, form)


@correct.command(name="list", epilog=examples("correct list", "correct list --account acme --csv"))
def listed(
    *,
    of: Annotated[str | None, typer.Option("--receipt", help="Only of this receipt.")] = None,
    account: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    limit: MostRows = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show corrections, the newest first: what each added, and what its receipt charged then."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    only = None if of is None else _id(of)
    found = settings(DATABASE)
    with explained(found), corrections_at(found) as kept:
        one = kept.listed(only, account, limit + 1)
    show("Corrections, the newest first", Listing(one.names, one.rows[:limit]), form)
    _more(len(one.rows), limit, form)


@correct.command(name="open", epilog=examples("correct open", "correct open --days 400 --json"))
def undecided(
    *,
    days: Annotated[
        int, typer.Option(min=1, max=36_500, help="Twins of calls that began so many days ago.")
    ] = _DAYS,
    limit: MostRows = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show conflicts and twins that nobody has decided, each with the command that would.

    A conflict is a callback that contradicts its receipt; a twin is a receipt with the call id,
    cost, tokens and start of an earlier one. Compare with the provider's bill before you run a
    command; with `--amount 0` in place of its `--to` the receipt stays as it is.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    first = (datetime.now(UTC) - timedelta(days=days)).date()
    with explained(found), corrections_at(found) as kept:
        rows = [
            *conflicts_of(kept.conflicts(limit + 1), found.billing_markup),
            *twins_of(kept.twins(first, limit + 1)),
        ]
    show("Conflicts and twins to be decided", Listing(COLUMNS, rows[:limit]), form)
    _more(len(rows), limit, form)


def corrections_at(found: Settings) -> closing[Corrections]:
    """Return the corrections of the ledger that the settings name."""
    url = found.database_url.get_secret_value()
    return closing(Corrections(url, "", found.thresholds, found.billing_unknown_account))


def _say(done: Corrected, form: Form) -> None:
    one = done.correction
    state = "corrected" if done.created else "corrected already"
    row: Row = {
        "done": state,
        "receipt": one.receipt,
        "number": one.number,
        "account": one.billing_account_id,
        "reason": one.reason.value,
        "amount USD": one.amount_usd,
        "credits": one.amount_credits,
        "charged USD then": one.corrected_usd,
        "credits then": one.corrected_credits,
        "reference": one.reference,
        "by": one.person,
        "note": one.note,
        "made": one.created_at,
    }
    tell(
        f"{state}: {one.reason.value} of {trimmed(one.amount_usd)} USD ({one.amount_credits} "
        f"credits) on receipt {one.receipt} of {one.billing_account_id}, reference "
        f"{one.reference}; it charges {trimmed(one.corrected_usd)} USD "
        f"({one.corrected_credits} credits) then",
        row,
        form,
    )


def _more(found: int, limit: int, form: Form) -> None:
    if found > limit:
        remark(f"there are more than {limit}: raise --limit", form)


def _usd(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        fail(f"an amount is US dollars such as 12.50, not {text!r}", 2)
    if not amount.is_finite():
        fail(f"an amount of US dollars is never without end: {text!r}", 2)
    return amount


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        fail(f"a receipt is named by its id, which `billing explain CALL` shows, not {text!r}", 2)
