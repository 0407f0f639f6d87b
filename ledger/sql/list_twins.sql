-- Receipts that may be of a call which has another one, of calls that began on a day or later, and of which
-- nobody has said yet whether they are. The day finds them by an index.
SELECT
    receipt.created_at AS found, receipt.id AS receipt, receipt.litellm_call_id AS call,
    receipt.billing_account_id AS account, receipt.response_cost_usd AS cost_usd,
    coalesce(latest.corrected_usd, receipt.charged_usd) AS now_usd
FROM billing.charge_receipts AS receipt
LEFT JOIN LATERAL (
    SELECT corrected_usd
    FROM billing.receipt_corrections
    WHERE charge_receipt_id = receipt.id
    ORDER BY number DESC
    LIMIT 1
) AS latest ON true
WHERE 'possible_double' = ANY(receipt.marks)
    AND (coalesce(receipt.started_at, receipt.occurred_at) AT TIME ZONE 'UTC')::date >= %(first_day)s
    AND NOT EXISTS (
        SELECT FROM billing.receipt_corrections AS correction
        WHERE correction.charge_receipt_id = receipt.id AND correction.reason = 'twin'
    )
ORDER BY receipt.created_at, receipt.id
LIMIT %(limit)s
