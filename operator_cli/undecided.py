"""Conflicts and twins as rows, each with the command that would decide it. Pure."""

import shlex
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final

from charging.corrections import markup_of
from charging.money import charge, trimmed
from runtime.rows import Row
from schemas.correction import CorrectionReason

COLUMNS: Final = ("found", "what", "receipt", "call", "account", "charged USD", "says", "command")


def conflicts_of(rows: Iterable[Row], markup: Decimal) -> Iterator[Row]:
    """Yield each callback that contradicts a receipt.

    Its command sets the charge to the callback's cost times the markup of the receipt, which is
    `markup` where the receipt cost nothing; that of one on another account keeps the receipt.
    """
    for row in rows:
        own = markup_of(row["cost_usd"], row["charged_usd"], markup)
        other, _ = charge(row["other_cost_usd"], own)
        elsewhere = row["other_account"] != row["account"]
        says = f"another callback: {trimmed(other)} USD" + (
            f" on account {row['other_account']}" if elsewhere else ""
        )
        # No correction charges another account: that is for a person to think about first.
        to = row["now_usd"] if elsewhere else other
        yield _row(row, CorrectionReason.CONFLICT, to, f"conflict-{row['number']}", says)


def twins_of(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield each receipt that may be the second one of its call; its command takes it back."""
    for row in rows:
        says = "an earlier receipt has the same call id, cost, tokens and start"
        yield _row(row, CorrectionReason.TWIN, Decimal(0), f"twin-{row['receipt']}", says)


def _row(row: Row, reason: CorrectionReason, to: Decimal, reference: str, says: str) -> Row:
    words = [
        "billing", "correct", str(row["receipt"]), "--to", trimmed(to), "--reason", reason.value,
        "--reference", reference,
    ]  # fmt: skip
    return {
        "found": row["found"],
        "what": reason.value,
        "receipt": row["receipt"],
        "call": row["call"],
        "account": row["account"],
        "charged USD": row["now_usd"],
        "says": says,
        "command": shlex.join(words),
    }
