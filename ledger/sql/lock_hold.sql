SELECT id, billing_account_id, amount, state, expires_at
FROM billing.credit_holds
WHERE id = %(hold)s
FOR UPDATE
