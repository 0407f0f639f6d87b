"""The commands for credits: grant, refund, write off, correct, limit, entries, audit."""

from typing import Annotated, Final
from uuid import uuid4

import typer

from ledger.accounts import Entry, Movement, Posted, Reason
from ledger.healing import LedgerError
from operator_cli.accounts import credits_at
from operator_cli.amount import credits_in, spelled, usd
from operator_cli.limits import By, Named, limits, named, set_limit
from operator_cli.tables import (
    BeforeId,
    Csv,
    Form,
    Json,
    MostRows,
    form_of,
    remark,
    show,
    tell,
)
from operator_cli.terminal import DATABASE, decider, err, examples, explained, fail, settings
from runtime.rows import Listing, Row

credit = typer.Typer(
    help="Credits of accounts: grant, refund, write off, correct, limit, list, audit.",
    epilog=examples('credit grant acme 100 --note "order 4711"', "credit audit"),
)

credit.command(
    name="limit",
    epilog=examples(
        "credit limit acme --prepaid",
        'credit limit acme --postpaid --limit 500 --note "contract of May" --by ada',
        "credit limit acme --postpaid --no-limit --json",
    ),
)(set_limit)
credit.command(name="limits", epilog=examples("credit limits acme", "credit limits --csv"))(limits)

_ENTRY: Final = (
    "id", "account", "reason", "amount", "amount USD", "balance", "balance USD", "reference",
    "receipts", "by", "note", "created_at",
)  # fmt: skip
_IMBALANCE: Final = ("account", "figure", "batch", "stands", "should be", "difference USD")

Amount = Annotated[
    str, typer.Argument(metavar="AMOUNT", help="US dollars, such as 12.50 or 0.0000001.")
]
Note = Annotated[
    str, typer.Option("--note", "--reason", help="Why; stored with it.", show_default=False)
]
Reference = Annotated[
    str,
    typer.Option(help="What names the movement: with the same one it is made once. Default: new."),
]


@credit.command(
    epilog=examples(
        'credit grant acme 100 --note "order 4711" --reference order-4711',
        'credit grant acme 0.5 --reason "trial" --by ada --json',
    )
)
def grant(
    account: Named,
    amount: Amount,
    *,
    note: Note,
    by: By = "",
    reference: Reference = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Give an account credits. One that is unknown is opened, prepaid."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    _post("grant", account, amount, (note, by, reference), form)


@credit.command(
    epilog=examples('credit refund acme 2.25 --note "calls of 3 November failed" --reference t-17')
)
def refund(
    account: Named,
    amount: Amount,
    *,
    note: Note,
    by: By = "",
    reference: Reference = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Give an account back what it was charged. No receipt changes."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    _post("refund", account, amount, (note, by, reference), form)


@credit.command(
    name="write-off", epilog=examples('credit write-off acme 10 --note "insolvent" --by ada')
)
def write_off(
    account: Named,
    amount: Amount,
    *,
    note: Note,
    by: By = "",
    reference: Reference = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Take a debt off an account that nobody will pay: its balance rises."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    _post("write_off", account, amount, (note, by, reference), form)


@credit.command(
    name="correct",
    # An amount below zero is no option.
    context_settings={"ignore_unknown_options": True},
    epilog=examples('credit correct acme -50 --note "granted to the wrong account"'),
)
def correct(
    account: Named,
    amount: Amount,
    *,
    note: Note,
    by: By = "",
    reference: Reference = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Put right what was posted by mistake: AMOUNT may be below zero."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    _post("correction", account, amount, (note, by, reference), form)


@credit.command(
    epilog=examples("credit entries acme", "credit entries acme --limit 1000 --csv > acme.csv")
)
def entries(
    account: Named,
    *,
    before: BeforeId = None,
    limit: MostRows = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show every movement of an account's credits, the newest first.

    A charge_receipt is the debit of a batch of receipts; the view billing.credit_ledger shows
    these one by one.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), credits_at(found) as kept:
        listed = kept.entries(account, before, limit + 1)
        known = bool(listed) or kept.account(account) is not None
    shown = listed[:limit]
    show("Entries, the newest first", Listing(_ENTRY, [_row(one) for one in shown]), form)
    if not known:
        remark(f"nobody has opened an account {account!r}", form)
    if len(shown) < len(listed):
        remark(f"there are more: --before {shown[-1].id}", form)


@credit.command(epilog=examples("credit audit", "credit audit --json"))
def audit(*, as_json: Json = False, as_csv: Csv = False) -> None:
    """Ask whether each balance is the sum of its entries. Exit code 1: one is not.

    And whether what is held is the sum of the open holds, and each debit that of its receipts.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), credits_at(found) as kept:
        wrong, undebited = kept.audit(), kept.undebited()
    rows = [
        {
            "account": one.billing_account_id,
            "figure": one.figure,
            "batch": one.batch,
            "stands": one.stands,
            "should be": one.should_be,
            "difference USD": usd(one.stands - one.should_be),
        }
        for one in wrong
    ]
    show("Figures that are not the sum of their rows", Listing(_IMBALANCE, rows), form)
    if undebited.receipts:
        remark(
            f"{undebited.receipts} receipts of {spelled(undebited.credits)} belong to no debit, "
            "such as those from before there were credits",
            form,
        )
    if wrong:
        raise typer.Exit(1)


def _post(
    reason: Reason, account: str, amount: str, said: tuple[str, str, str], form: Form
) -> None:
    note, by, reference = said
    credits_ = credits_in(amount, signed=reason == "correction")
    if not credits_:
        fail("an amount of 0 moves nothing", 2)
    who, key = decider(by), reference or str(uuid4())
    movement = Movement(named(account), reason, key, credits_, who, note)
    found = settings(DATABASE)
    with explained(found), credits_at(found) as kept:
        try:
            posted = kept.post(movement, "open")
        except LedgerError:
            # Whether it was committed may not be known.
            hint = f"to ask for it again, and not for a second one: --reference {key}"
            err.print(hint, markup=False)
            raise
    entry = posted.entry
    done = "posted" if posted.created else "posted already"
    row = {"done": done, **_row(entry)}
    opened = "; the account is new: prepaid" if posted.opened else ""
    tell(
        f"{done}: {reason} of {spelled(entry.amount)} to {entry.billing_account_id}, reference "
        f"{entry.reference}; balance {_behind(posted)}{spelled(entry.balance)}{opened}",
        row,
        form,
    )


def _behind(posted: Posted) -> str:
    return "" if posted.created else "then was "


def _row(one: Entry) -> Row:
    values = (
        one.id, one.billing_account_id, one.reason, one.amount, usd(one.amount), one.balance,
        usd(one.balance), one.reference, one.receipts, one.person, one.note, one.created_at,
    )  # fmt: skip
    return dict(zip(_ENTRY, values, strict=True))
