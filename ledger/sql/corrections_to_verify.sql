-- Corrections with the values that are sealed; of one, where its id is given.
SELECT
    created_at, id, charge_receipt_id, number, reason, amount_usd, amount_credits, corrected_usd,
    corrected_credits, reference, person, note, created_at AS sealed_time
FROM billing.receipt_corrections
WHERE %(id)s::uuid IS NULL OR id = %(id)s
ORDER BY created_at
