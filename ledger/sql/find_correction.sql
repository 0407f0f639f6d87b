SELECT
    correction.id, correction.charge_receipt_id, correction.number, receipt.billing_account_id,
    correction.reason, correction.amount_usd, correction.amount_credits, correction.corrected_usd,
    correction.corrected_credits, correction.reference, correction.person, correction.note, correction.created_at
FROM billing.receipt_corrections AS correction
INNER JOIN billing.charge_receipts AS receipt ON receipt.id = correction.charge_receipt_id
WHERE correction.reference = %(reference)s
