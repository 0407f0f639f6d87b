"""The credits, read from outside with SELECT: what of them does not add up."""

from typing import Any, Final

import psycopg

_FAULTS: Final = """
SELECT 'balance of ' || billing_account_id FROM billing.credit_accounts AS account
WHERE balance <> (
    SELECT coalesce(sum(amount), 0) FROM billing.credit_entries AS entry
    WHERE entry.billing_account_id = account.billing_account_id
)
UNION ALL
SELECT 'held of ' || billing_account_id FROM billing.credit_accounts AS account
WHERE held <> (
    SELECT coalesce(sum(amount), 0) FROM billing.credit_holds AS hold
    WHERE hold.billing_account_id = account.billing_account_id AND hold.state = 'held'
)
UNION ALL
SELECT 'receipts of ' || coalesce(entry.batch, receipt.batch)
FROM (SELECT batch, billing_account_id, amount, receipts FROM billing.credit_entries
    WHERE reason = 'charge_receipt') AS entry
FULL JOIN (
    SELECT credit_batch AS batch, billing_account_id, sum(charged_credits) AS charged, count(*) AS receipts
    FROM billing.charge_receipts
    WHERE credit_batch IS NOT NULL AND charged_credits > 0
    GROUP BY credit_batch, billing_account_id
) AS receipt ON (receipt.batch, receipt.billing_account_id) = (entry.batch, entry.billing_account_id)
WHERE (-entry.amount, entry.receipts) IS DISTINCT FROM (receipt.charged, receipt.receipts)
"""  # noqa: E501 - SQL


def unbalanced(connection: psycopg.Connection[Any]) -> list[str]:
    """What of balances, of what is held, and of debits is not the sum of what makes it."""
    return [said for (said,) in connection.execute(_FAULTS)]
