-- The newest first.
SELECT
    correction.created_at AS made, correction.charge_receipt_id AS receipt, correction.number,
    receipt.billing_account_id AS account, correction.reason, correction.amount_usd AS "amount USD",
    correction.amount_credits::numeric AS credits, correction.corrected_usd AS "charged USD then",
    correction.corrected_credits::numeric AS "credits then", correction.reference, correction.person AS "by",
    correction.note
FROM billing.receipt_corrections AS correction
INNER JOIN billing.charge_receipts AS receipt ON receipt.id = correction.charge_receipt_id
WHERE (%(receipt)s::uuid IS NULL OR correction.charge_receipt_id = %(receipt)s)
    AND (%(account)s::text IS NULL OR receipt.billing_account_id = %(account)s)
ORDER BY correction.created_at DESC, correction.id DESC
LIMIT %(limit)s
