-- No row comes back where it is open already.
INSERT INTO billing.credit_accounts (billing_account_id, kind, "limit")
VALUES (%(account)s, %(kind)s, %(limit)s::bigint)
ON CONFLICT (billing_account_id) DO NOTHING
RETURNING billing_account_id, kind, balance, held, "limit", opened_at
