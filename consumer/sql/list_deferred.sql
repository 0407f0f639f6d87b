SELECT
    id, deferred_at AS deferred, now() - deferred_at AS age, reason, model, provider,
    CASE WHEN run_id <> call_key THEN run_id END AS run,
    tokens_in AS "tokens in", tokens_out AS "tokens out", suggested_cost_usd AS "suggested USD",
    resolution, resolved_by AS "by", resolution_note AS note
FROM billing.deferred_calls
WHERE resolved_at IS NULL OR %(settled)s
ORDER BY deferred_at
LIMIT %(limit)s
