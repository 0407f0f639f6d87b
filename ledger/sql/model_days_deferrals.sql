-- Open deferrals, as in model_days_receipts. They know no model of the provider.
SELECT
    (coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date AS day,
    provider,
    model,
    count(*) AS calls,
    coalesce(sum(tokens_in), 0) + coalesce(sum(tokens_out), 0) AS tokens,
    trim_scale(sum(coalesce(suggested_cost_usd, 0))) AS suggested_usd
FROM billing.open_deferrals
WHERE (coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date >= %(first)s
    AND (coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date <= %(last)s
GROUP BY 1, 2, 3
