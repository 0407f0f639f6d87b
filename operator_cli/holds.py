"""The command `holds`: credits that calls hold, and what became of them."""

from typing import Annotated, Final, Literal, TypeAlias

import typer

from ledger.hold_listing import HoldRow
from operator_cli.accounts import credits_at
from operator_cli.amount import usd
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

State: TypeAlias = Literal["held", "captured", "released", "expired"]
_NAMES: Final = (
    "id", "account", "state", "amount", "amount USD", "captured", "captured USD", "run", "attempt",
    "model", "call", "receipt", "created_at", "expires_at", "ended_at",
)  # fmt: skip


def holds(
    *,
    account: Annotated[str | None, typer.Option(help="Only of this account.")] = None,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    limit: MostRows = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show holds, the newest first.

    A hold is taken before a call is made. It ends with the receipt of the call, which is charged
    what the call has cost (captured), or without one: released or expired.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), credits_at(found) as kept:
        listed = kept.holds(account, state, None, limit + 1)
    shown = listed[:limit]
    show("Holds, the newest first", Listing(_NAMES, [_row(one) for one in shown]), form)
    if len(shown) < len(listed):
        remark("there are more: --limit", form)


def _row(one: HoldRow) -> Row:
    values = (
        str(one.id), one.billing_account_id, one.state, one.amount, usd(one.amount), one.captured,
        usd(one.captured), one.run_id, one.attempt, one.model, one.litellm_call_id,
        one.charge_receipt_id and str(one.charge_receipt_id), one.created_at, one.expires_at,
        one.ended_at,
    )  # fmt: skip
    return dict(zip(_NAMES, values, strict=True))
