-- Receipts that cost nothing need no entry.
SELECT billing_account_id, 'debit', batch, -coalesce(entry.amount, 0), coalesce(charged.credits, 0)
FROM (
    SELECT billing_account_id, batch, sum(amount) AS amount
    FROM billing.credit_entries
    WHERE reason = 'charge_receipt'
    GROUP BY billing_account_id, batch
) AS entry
FULL JOIN (
    SELECT billing_account_id, credit_batch AS batch, sum(charged_credits) AS credits
    FROM billing.charge_receipts
    WHERE credit_batch IS NOT NULL
    GROUP BY billing_account_id, credit_batch
) AS charged USING (billing_account_id, batch)
WHERE -coalesce(entry.amount, 0) <> coalesce(charged.credits, 0)
ORDER BY billing_account_id, batch
