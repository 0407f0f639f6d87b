"""The commands `credit limit` and `credit limits`: how accounts pay, and who has said so."""

from typing import Annotated, Final

import typer

from ledger.accounts import Account, Limit
from ledger.credits import Credits
from operator_cli.accounts import credits_at
from operator_cli.amount import credits_in, spelled, usd
from operator_cli.tables import (
    BeforeId,
    Csv,
    Json,
    MostRows,
    form_of,
    remark,
    show,
    tell,
)
from operator_cli.terminal import DATABASE, decider, explained, fail, settings
from runtime.rows import Listing

Named = Annotated[str, typer.Argument(metavar="ACCOUNT", help="As receipts name it.")]
By = Annotated[str, typer.Option(help="Who decides this. Default: the user of the shell.")]

_LIMIT: Final = ("id", "account", "kind", "limit", "limit USD", "by", "note", "created_at")


def set_limit(
    account: Named,
    *,
    prepaid: Annotated[bool, typer.Option("--prepaid", help="Never below zero.")] = False,
    postpaid: Annotated[
        bool, typer.Option("--postpaid", help="Below zero: to --limit, or with --no-limit.")
    ] = False,
    limit: Annotated[
        str | None, typer.Option(help="How far below zero holds may take it, US dollars.")
    ] = None,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="Without end.")] = False,
    note: Annotated[
        str, typer.Option("--note", "--reason", help="Why; stored with it.", show_default=False)
    ] = "",
    by: By = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Say how an account pays. One that is unknown is opened, without credits.

    It counts from the next call on; what calls hold already stands.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    if prepaid == postpaid:
        fail("say one of --prepaid and --postpaid", 2)
    if prepaid and (limit is not None or no_limit):
        fail("a prepaid account has no limit: it never goes below zero", 2)
    if postpaid and (limit is not None) == no_limit:
        fail("of a post-paid account, say one of --limit and --no-limit", 2)
    credits_ = None if limit is None else credits_in(limit)
    name = named(account)
    found = settings(DATABASE)
    with explained(found), credits_at(found) as kept:
        said = Limit(name, "prepaid" if prepaid else "postpaid", credits_, decider(by), note)
        done, changed = _set(kept, said)
    row = {
        "account": changed.billing_account_id,
        "done": done,
        "kind": changed.kind,
        "limit": changed.limit,
        "limit USD": usd(changed.limit),
    }
    tell(f"{done} {changed.billing_account_id}: {_pays(changed)}", row, form)


def limits(
    account: Annotated[
        str | None, typer.Argument(metavar="[ACCOUNT]", help="Only of this one.")
    ] = None,
    *,
    before: BeforeId = None,
    limit: MostRows = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show who has said how accounts pay, the newest first.

    Accounts that a grant or a first call has opened are in `billing accounts` alone.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), credits_at(found) as kept:
        listed = kept.limits(account, before, limit + 1)
    shown = listed[:limit]
    rows = [
        dict(
            zip(
                _LIMIT,
                (
                    one.id, one.billing_account_id, one.kind, one.limit, usd(one.limit),
                    one.person, one.note, one.created_at,
                ),
                strict=True,
            )
        )
        for one in shown
    ]  # fmt: skip
    show("Limits, the newest first", Listing(_LIMIT, rows), form)
    if len(shown) < len(listed):
        remark(f"there are more: --before {shown[-1].id}", form)


def named(account: str) -> str:
    """Return the name of an account; ends the command where it has none."""
    if not account.strip():
        fail("an account has a name", 2)
    return account


def _set(kept: Credits, said: Limit) -> tuple[str, Account]:
    if opened := kept.open_account(said):
        return "opened", opened
    return "changed", kept.set_limit(said)


def _pays(one: Account) -> str:
    if one.kind == "prepaid":
        return "prepaid"
    how_far = "without a limit" if one.limit is None else f"to {spelled(one.limit)} below zero"
    return f"post-paid, {how_far}"
