-- Calls of customers that began in a time, in that order.
SELECT
    model, account, started_at, ended_at, tokens_in, tokens_out, response_cost_usd, charge_reason
FROM billing.spend
WHERE day >= %(first_day)s
    AND day <= %(last_day)s
    AND started_at >= %(since)s
    AND started_at < %(until)s
    AND charge_reason IN ('usage', 'partial', 'free_model', 'cache_hit')
    AND model IS NOT NULL
ORDER BY started_at, receipt_id
