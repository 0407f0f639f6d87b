SELECT billing_account_id, kind, balance, held, "limit", opened_at
FROM billing.credit_accounts
WHERE billing_account_id > %(after)s
ORDER BY billing_account_id
LIMIT %(limit)s
