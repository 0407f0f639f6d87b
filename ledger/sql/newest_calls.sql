-- The newest receipts of each model that ended in a time, to learn its rates from. The first row keeps
-- the question from more pages than it may read, and the day finds those of the time by an index.
SELECT
    model, tokens_in, tokens_out, response_cost_usd, charge_reason
FROM (
    SELECT
        model, tokens_in, tokens_out, response_cost_usd, charge_reason,
        row_number() OVER (PARTITION BY model ORDER BY occurred_at DESC, id) AS place
    FROM billing.charge_receipts
    WHERE ctid >= %(first)s::tid
        AND (coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date >= %(first_day)s
        AND occurred_at >= %(since)s
        AND occurred_at < %(until)s
        AND charge_reason IN ('usage', 'partial', 'free_model')
        AND model IS NOT NULL
) AS newest
WHERE place <= %(calls)s
ORDER BY model, place
