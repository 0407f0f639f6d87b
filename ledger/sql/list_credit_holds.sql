SELECT
    id, billing_account_id, litellm_call_id, amount, state, run_id, attempt, model, created_at, expires_at,
    ended_at, charge_receipt_id, captured
FROM billing.credit_holds
WHERE (%(account)s::text IS NULL OR billing_account_id = %(account)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(created_at)s::timestamptz IS NULL OR (created_at, id) < (%(created_at)s, %(id)s::uuid))
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s
