-- What LiteLLM said that calls cost, by the day of UTC on which they began, by provider and model.
-- The model is that of the provider, not the group that was asked for. The day finds them by an index.
SELECT
    (coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date AS day,
    provider,
    coalesce(provider_model, model) AS model,
    count(*) AS calls,
    coalesce(sum(tokens_in), 0) + coalesce(sum(tokens_out), 0) AS tokens,
    trim_scale(sum(response_cost_usd)) AS cost_usd
FROM billing.detailed_receipts
WHERE (coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date >= %(first)s
    AND (coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date <= %(last)s
GROUP BY 1, 2, 3
