SELECT billing_account_id, kind, balance, held, "limit", opened_at
FROM billing.credit_accounts
WHERE billing_account_id = %(account)s
