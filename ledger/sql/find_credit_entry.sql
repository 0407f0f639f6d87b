SELECT id, billing_account_id, reason, reference, amount, balance, batch, receipts, person, note, created_at
FROM billing.credit_entries
WHERE reason = %(reason)s AND reference = %(reference)s
