SELECT
    charge_receipt_id, number, reason, amount_usd, amount_credits::numeric AS amount_credits, corrected_usd,
    corrected_credits::numeric AS corrected_credits, reference, person, note, created_at
FROM billing.receipt_corrections
WHERE charge_receipt_id = ANY(%(receipts)s)
ORDER BY charge_receipt_id, number
LIMIT %(limit)s
