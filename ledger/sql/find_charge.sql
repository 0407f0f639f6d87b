-- What a receipt charges with its corrections so far, and whether its account was debited for it.
SELECT
    receipt.billing_account_id,
    receipt.credit_batch IS NOT NULL AS debited,
    coalesce(latest.corrected_usd, receipt.charged_usd) AS charged_usd,
    coalesce(latest.corrected_credits, receipt.charged_credits) AS charged_credits,
    coalesce(latest.number, 0) AS corrections
FROM billing.charge_receipts AS receipt
LEFT JOIN LATERAL (
    SELECT number, corrected_usd, corrected_credits
    FROM billing.receipt_corrections
    WHERE charge_receipt_id = receipt.id
    ORDER BY number DESC
    LIMIT 1
) AS latest ON true
WHERE receipt.id = %(receipt)s
