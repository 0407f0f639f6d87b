-- The demo's calls that wait for a cost.
SELECT litellm_call_id, model, reason, tokens_in, tokens_out, suggested_cost_usd
FROM billing.deferred_calls
WHERE litellm_call_id = ANY(%(calls)s) AND resolved_at IS NULL
ORDER BY deferred_at
