SELECT
    deferred_at AS deferred, reason, model, provider, run_id AS run, tokens_in AS "tokens in",
    tokens_out AS "tokens out", suggested_cost_usd AS "suggested USD"
FROM billing.deferred_calls
WHERE resolved_at IS NULL
ORDER BY deferred_at DESC
LIMIT %(limit)s
