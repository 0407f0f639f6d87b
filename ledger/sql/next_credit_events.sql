SELECT
    sequence, event_id, type, billing_account_id, kind, balance, held, "limit", threshold, amount, reason,
    litellm_call_id, run_id, attempt, model, created_at
FROM billing.credit_events
WHERE sequence IS NOT NULL
ORDER BY sequence
LIMIT %(limit)s
