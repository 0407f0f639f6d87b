-- What waits for another callback of its response is left out for a day.
-- A deferral whose receipt came through another partition in the same moment counts as settled.
SELECT
    deferred.deferred_at AS deferred, deferred.reason, deferred.model, deferred.provider,
    deferred.run_id AS run, deferred.tokens_in AS "tokens in", deferred.tokens_out AS "tokens out",
    deferred.suggested_cost_usd AS "suggested USD"
FROM billing.deferred_calls AS deferred
WHERE deferred.resolved_at IS NULL
    AND (
        deferred.reason NOT IN ('awaiting_result', 'awaiting_create')
        OR deferred.deferred_at < now() - interval '1 day'
    )
    AND NOT EXISTS (
        SELECT FROM billing.charge_receipts AS receipt
        WHERE receipt.source_system = deferred.source_system
            AND receipt.call_key = deferred.call_key
    )
ORDER BY deferred.deferred_at DESC
LIMIT %(limit)s
