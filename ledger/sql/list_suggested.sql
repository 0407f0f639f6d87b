-- Open deferrals with a suggested cost, the oldest first, in parts.
SELECT
    id, call_key, model, reason, suggested_cost_usd AS cost_usd, now() - deferred_at AS age
FROM billing.open_deferrals
WHERE suggested_cost_usd > 0 AND id > %(after)s
ORDER BY id
LIMIT %(limit)s
