SELECT reason, model, provider, run_id, tokens_in, tokens_out, suggested_cost_usd, deferred_at
FROM billing.deferred_calls
WHERE resolved_at IS NULL
ORDER BY deferred_at DESC
LIMIT %(limit)s
