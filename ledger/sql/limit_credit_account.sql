UPDATE billing.credit_accounts
SET kind = %(kind)s, "limit" = %(limit)s::bigint
WHERE billing_account_id = %(account)s
RETURNING billing_account_id, kind, balance, held, "limit", opened_at
