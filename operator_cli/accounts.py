"""The command `accounts`: who may spend how much."""

from contextlib import closing
from typing import Annotated, Final

import typer

from ledger.accounts import Account
from ledger.credits import Credits
from operator_cli.amount import usd
from operator_cli.settings import Settings
from operator_cli.tables import (
    Csv,
    Json,
    MostRows,
    form_of,
    remark,
    show,
)
from operator_cli.terminal import DATABASE, explained, settings
from runtime.rows import Listing, Row

_PAGE: Final = 1_000
_NAMES: Final = (
    "account", "kind", "balance", "balance USD", "held", "limit", "available", "available USD",
    "opened_at",
)  # fmt: skip


def accounts(
    *,
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    after: Annotated[str, typer.Option(help="Only those whose names come behind this one.")] = "",
    limit: MostRows = 50,
    every: Annotated[bool, typer.Option("--all", help="All of them, whatever --limit.")] = False,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show accounts of credits, by name: balance, what calls hold of it, what is available.

    Amounts are credits, 10,000,000 to the US dollar. A post-paid account may go below zero to its
    limit; where it has none, limit and available are empty.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), credits_at(found) as kept:
        if account is None:
            listed = _listed(kept, after, None if every else limit + 1)
        else:
            one = kept.account(account)
            listed = [one] if one else []
    shown = listed if every else listed[:limit]
    show("Accounts of credits", Listing(_NAMES, [_row(one) for one in shown]), form)
    if len(shown) < len(listed):
        remark(f"there are more: --after {shown[-1].billing_account_id!r}, or --all", form)


def credits_at(found: Settings) -> closing[Credits]:
    """Return the accounts of credits of the ledger that the settings name."""
    url = found.database_url.get_secret_value()
    return closing(Credits(url, "", "billing-operator", found.thresholds))


def _listed(kept: Credits, after: str, most: int | None) -> list[Account]:
    listed = list[Account]()
    while most is None or len(listed) < most:
        wanted = _PAGE if most is None else min(_PAGE, most - len(listed))
        page = kept.accounts(after, wanted)
        listed += page
        if len(page) < wanted:
            break
        after = page[-1].billing_account_id
    return listed


def _row(one: Account) -> Row:
    values = (
        one.billing_account_id, one.kind, one.balance, usd(one.balance), one.held, one.limit,
        one.available, usd(one.available), one.opened_at,
    )  # fmt: skip
    return dict(zip(_NAMES, values, strict=True))
