-- Receipts whose calls began in a time. A call that does not say how long it took began when it ended.
SELECT
    id, call_key, litellm_call_id, response_id, response_cost_usd, occurred_at, billing_account_id, model
FROM billing.detailed_receipts
WHERE source_system = %(source)s
    AND occurred_at >= %(start)s
    AND occurred_at < %(until)s::timestamptz + %(longest)s
    AND occurred_at - coalesce(latency_ms, 0) * interval '1 ms' >= %(start)s
    AND occurred_at - coalesce(latency_ms, 0) * interval '1 ms' < %(until)s
