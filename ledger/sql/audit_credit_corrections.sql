-- What a receipt was never debited for is not given back.
SELECT
    receipt.billing_account_id, 'correction', NULL::bigint, coalesce(entry.amount, 0),
    CASE WHEN receipt.credit_batch IS NULL THEN 0 ELSE -correction.amount_credits END
FROM billing.receipt_corrections AS correction
INNER JOIN billing.charge_receipts AS receipt ON receipt.id = correction.charge_receipt_id
LEFT JOIN billing.credit_entries AS entry
    ON entry.reason = 'correction'
        AND entry.reference = correction.id::text
        AND entry.billing_account_id = receipt.billing_account_id
WHERE coalesce(entry.amount, 0) <> CASE WHEN receipt.credit_batch IS NULL THEN 0 ELSE -correction.amount_credits END
ORDER BY receipt.billing_account_id, correction.id
