SELECT billing_account_id, kind, balance, held, "limit"
FROM billing.credit_accounts
WHERE billing_account_id = %(account)s
