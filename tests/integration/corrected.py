"""Corrections that are made, and what the ledger charges with them."""

from decimal import Decimal
from uuid import UUID

import psycopg

from charging.corrections import Wish
from ledger.corrections import Corrected, Corrections, Said
from schemas.correction import CorrectionReason


def correct(
    kept: Corrections,
    receipt: UUID,
    amount: str | None = None,
    *,
    to: str | None = None,
    reason: CorrectionReason = CorrectionReason.PRICE,
    reference: str = "one",
) -> Corrected:
    """Correct a receipt by an amount, or to a charge."""
    added, target = (None if text is None else Decimal(text) for text in (amount, to))
    return kept.correct(Said(receipt, Wish(reason, added, target), reference, "ada", "why"))


def charged(url: str) -> dict[str, tuple[Decimal, int]]:
    """What each account is charged by receipts and corrections, US dollars and credits."""
    with psycopg.connect(url) as admin:
        found = admin.execute(
            "SELECT account, sum(charged_usd), sum(charged_credits)::bigint"
            " FROM billing.spend GROUP BY account"
        ).fetchall()
    return {account: (usd, credits_) for account, usd, credits_ in found}


def balances(url: str) -> dict[str, int]:
    """The balance of each account, credits."""
    with psycopg.connect(url) as admin:
        found = admin.execute("SELECT billing_account_id, balance FROM billing.credit_accounts")
        return dict(found.fetchall())
