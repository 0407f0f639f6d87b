-- Cost of each run. A call that names no run has its call key for one: these are put together.
SELECT
    nullif(run_id, call_key) AS run_id, count(*) AS calls,
    sum(response_cost_usd) AS response_cost_usd, sum(charged_usd) AS charged_usd,
    sum(charged_credits)::bigint AS charged_credits
FROM billing.charge_receipts
WHERE litellm_call_id = ANY(%(calls)s)
GROUP BY 1
ORDER BY min(occurred_at)
