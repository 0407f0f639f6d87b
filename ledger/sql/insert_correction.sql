INSERT INTO billing.receipt_corrections (
    id, charge_receipt_id, number, reason, amount_usd, amount_credits, corrected_usd, corrected_credits,
    reference, person, note
)
VALUES (
    %(id)s, %(receipt)s, %(number)s, %(reason)s, %(amount_usd)s, %(amount_credits)s, %(corrected_usd)s,
    %(corrected_credits)s, %(reference)s, %(person)s, %(note)s
)
