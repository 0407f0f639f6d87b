SELECT id, billing_account_id, kind, "limit", person, note, created_at
FROM billing.credit_limits
WHERE (%(account)s::text IS NULL OR billing_account_id = %(account)s)
    AND id < coalesce(%(before)s::bigint, 9223372036854775807)
ORDER BY id DESC
LIMIT %(limit)s
