INSERT INTO billing.credit_limits (billing_account_id, kind, "limit", person, note)
VALUES (%(account)s, %(kind)s, %(limit)s::bigint, %(person)s, %(note)s)
