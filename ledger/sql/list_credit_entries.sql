-- The newest first: an account's ids rise as its balance runs.
SELECT id, billing_account_id, reason, reference, amount, balance, batch, receipts, person, note, created_at
FROM billing.credit_entries
WHERE billing_account_id = %(account)s AND id < coalesce(%(before)s::bigint, 9223372036854775807)
ORDER BY id DESC
LIMIT %(limit)s
