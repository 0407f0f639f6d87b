-- Receipts of calls that began on some days of UTC, with the tokens that they count. The model is that
-- of the provider, not the group that was asked for. Of one source, where one is given.
SELECT
    call_key, provider, coalesce(provider_model, model) AS model, charge_reason, cost_source,
    tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, response_cost_usd
FROM billing.detailed_receipts
WHERE (coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date >= %(first)s
    AND (coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date <= %(last)s
    AND (%(source)s::text IS NULL OR source_system = %(source)s)
