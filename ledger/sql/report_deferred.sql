-- What waits for another callback of its response is left out for a day.
SELECT
    deferred_at AS deferred, reason, model, provider, run_id AS run, tokens_in AS "tokens in",
    tokens_out AS "tokens out", suggested_cost_usd AS "suggested USD"
FROM billing.open_deferrals
WHERE (NOT waiting OR deferred_at < now() - interval '1 day')
    AND (%(since)s::timestamptz IS NULL OR occurred_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR occurred_at < %(until)s)
    AND (cardinality(%(models)s::text[]) = 0 OR model = ANY(%(models)s))
ORDER BY deferred_at DESC, id DESC
LIMIT %(limit)s
